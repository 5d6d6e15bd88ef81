"""What the published LightningDiT calls its parameters and its settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec

KNOWN = re.compile(
    r"pos_embed|y_embedder\.embedding_table\.weight|final_layer\.norm_final\.weight"
    r"|(x_embedder\.proj|t_embedder\.mlp\.[02]|final_layer\.linear|final_layer\.adaLN_modulation\.1)\.(weight|bias)"
    r"|blocks\.\d+\.(norm[12]\.weight|(attn\.(qkv|proj|[qk]_norm)|mlp\.(fc1|fc2|w12|w3)|adaLN_modulation\.1)"
    r"\.(weight|bias))"
)
ANGLES = re.compile(r"feat_rope\.freqs_(cos|sin)")  # buffers of theirs; ours follow from the grid

DEFAULTS: dict[str, Any] = {
    "input_size": 32,
    "patch_size": 2,
    "in_channels": 32,
    "hidden_size": 1152,
    "depth": 28,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": False,
    "use_qknorm": False,
    "use_swiglu": False,
    "use_rope": False,
    "use_rmsnorm": False,
    "wo_shift": False,
    "use_checkpoint": False,
}


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names, which are the same.

    Weights don't tell two things. Their time is 1 - t / 1000, so build with ``time="unit"``. What they give is the
    image minus the noise; ditbench's `flow` is trained on the noise minus the image, so negate the output to sample.
    """
    converted = {key: tensor for key, tensor in state_dict.items() if not ANGLES.fullmatch(key)}
    for key in converted:
        if not KNOWN.fullmatch(key):
            raise BadValue(f"lightningdit: {key!r} is no parameter of a published LightningDiT; pass its state dict.")
    return converted


def from_reference_config(config: Mapping[str, Any], name: str = "lightningdit") -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments as a spec and settings of `LightningDiT`.

    Without label dropout the published label table has no row for the null label, so the last class takes its place.
    No published setting has `learn_sigma`, under which half of the output is thrown away; `BadValue` if this one has.
    """
    unknown = config.keys() - DEFAULTS.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published LightningDiT.")
    given = {**DEFAULTS, **config}
    if given["learn_sigma"]:
        raise BadValue(f"{name}: learn_sigma makes channels that the published LightningDiT throws away; turn it off.")
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=given["num_classes"] - (given["class_dropout_prob"] <= 0),
        space="latent" if given["in_channels"] in (4, 32) else "pixel",
    )
    settings: dict[str, Any] = {
        "depth": given["depth"],
        "width": given["hidden_size"],
        "heads": given["num_heads"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["mlp_ratio"],
        "swiglu": given["use_swiglu"],
        "rope": given["use_rope"],
        "rmsnorm": given["use_rmsnorm"],
        "qknorm": given["use_qknorm"],
        "shift": not given["wo_shift"],
        "time": "unit",
    }
    return spec, settings
