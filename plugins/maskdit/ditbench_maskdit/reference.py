"""What the published MaskDiT calls its parameters and its settings, and what we call them.

Published weights want ln(sigma) / 4 for a time, EDM's. Ours are told 1000 (ln sigma - ln 0.002) / (ln 80 - ln 0.002),
as `edm` gives it, and the network turns it into theirs. So weights need no other time scale, but the objective `edm`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec

LABELS = "y_embedder.embedding_table.weight"  # theirs (D, classes), of a Linear; ours (classes, D)
KNOWN = re.compile(
    r"pos_embed|decoder_pos_embed|mask_token"
    r"|(x_embedder\.proj|t_embedder\.mlp\.[02]|(final|decoder)_layer\.(linear|adaLN_modulation\.1)"
    r"|(decoder_)?blocks\.\d+\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2|adaLN_modulation\.1))\.(weight|bias)"
)

DEFAULTS: dict[str, Any] = {
    "input_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 1152,
    "depth": 28,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": False,
    "use_decoder": True,
    "mae_loss_coef": 0.1,
}


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names; `BadValue` names a key that it does not have."""
    return dict(_converted(name, tensor) for name, tensor in state_dict.items())


def _converted(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    if name == LABELS:
        return "y_embedder.weight", tensor.T.contiguous()
    if not KNOWN.fullmatch(name):
        raise BadValue(f"maskdit: {name!r} is no parameter of a published MaskDiT; pass its bare state dict.")
    return name, tensor


def from_reference_config(config: Mapping[str, Any], name: str = "maskdit") -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments as a spec and settings of `MaskDiT`."""
    unknown = config.keys() - DEFAULTS.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published MaskDiT.")
    given = {**DEFAULTS, **config}
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=given["num_classes"],
        space="latent" if given["in_channels"] == 4 else "pixel",
        learn_variance=given["learn_sigma"],
    )
    settings: dict[str, Any] = {
        "depth": given["depth"],
        "width": given["hidden_size"],
        "heads": given["num_heads"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["mlp_ratio"],
        "decoder": 8 if given["use_decoder"] else 0,
        "mask": given["use_decoder"],
        "reconstruction": given["mae_loss_coef"],
    }
    return spec, settings
