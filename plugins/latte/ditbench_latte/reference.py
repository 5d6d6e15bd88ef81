"""What the published Latte calls its parameters and its settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec

KNOWN = re.compile(
    r"pos_embed|temp_embed|y_embedder\.embedding_table\.weight"
    r"|(x_embedder\.proj|t_embedder\.mlp\.[02]|final_layer\.linear|final_layer\.adaLN_modulation\.1"
    r"|blocks\.\d+\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2|adaLN_modulation\.1))\.(weight|bias)"
)

DEFAULTS: dict[str, Any] = {
    "input_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 1152,
    "depth": 28,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "num_frames": 16,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": True,
    "extras": 1,
}
NOTHING, LABELS = 1, 2  # what `extras` says that the network is told beside the time


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names, which are the same."""
    for key in state_dict:
        if not KNOWN.fullmatch(key):
            raise BadValue(f"latte: {key!r} is no parameter of a published Latte; pass its bare state dict.")
    return dict(state_dict)


def from_reference_config(config: Mapping[str, Any], name: str = "latte") -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments as a spec and settings of `Latte`.

    Without label dropout the published label table has no row for the null label, so the last class takes its place.
    """
    unknown = config.keys() - DEFAULTS.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published Latte.")
    given = {**DEFAULTS, **config}
    if given["extras"] not in (NOTHING, LABELS):
        raise BadValue(f"{name}: extras {given['extras']} means text; only 1, nothing, and 2, labels, are known here.")
    labels = given["num_classes"] - (given["class_dropout_prob"] <= 0)
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=labels if given["extras"] == LABELS else 0,
        space="latent" if given["in_channels"] == 4 else "pixel",
        learn_variance=given["learn_sigma"],
        frames=given["num_frames"],
    )
    settings: dict[str, Any] = {
        "depth": given["depth"],
        "width": given["hidden_size"],
        "heads": given["num_heads"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["mlp_ratio"],
    }
    return spec, settings
