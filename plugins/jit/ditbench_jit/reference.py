"""What the published JiT calls its parameters and its settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec

KNOWN = re.compile(
    r"pos_embed|in_context_posemb|y_embedder\.embedding_table\.weight|x_embedder\.proj1\.weight"
    r"|final_layer\.norm_final\.weight"
    r"|(x_embedder\.proj2|t_embedder\.mlp\.[02]|final_layer\.linear|final_layer\.adaLN_modulation\.1)\.(weight|bias)"
    r"|blocks\.\d+\.((norm[12]|attn\.[qk]_norm)\.weight"
    r"|(attn\.(qkv|proj)|mlp\.(w12|w3)|adaLN_modulation\.1)\.(weight|bias))"
)
ANGLES = re.compile(r"feat_rope(_incontext)?\.freqs_(cos|sin)")  # buffers of theirs; ours follow from the grid

DEFAULTS: dict[str, Any] = {
    "input_size": 256,
    "patch_size": 16,
    "in_channels": 3,
    "hidden_size": 1024,
    "depth": 24,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "attn_drop": 0.0,
    "proj_drop": 0.0,
    "num_classes": 1000,
    "bottleneck_dim": 128,
    "in_context_len": 32,
    "in_context_start": 8,
}


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names, which are the same.

    Weights don't tell that their time is 1 - t / 1000: build with ``time="unit"``. What they give is the image, as
    the objective `x-pred` asks; the noise at t = 1000 has its `noise_scale`, 2 for weights of 512 pixels.
    """
    converted = {key: tensor for key, tensor in state_dict.items() if not ANGLES.fullmatch(key)}
    for key in converted:
        if not KNOWN.fullmatch(key):
            raise BadValue(f"jit: {key!r} is no parameter of a published JiT; pass its bare state dict.")
    return converted


def from_reference_config(config: Mapping[str, Any], name: str = "jit") -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments as a spec and settings of `JiT`.

    No published setting drops attention's weights; `BadValue` if this one does.
    """
    unknown = config.keys() - DEFAULTS.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published JiT.")
    given = {**DEFAULTS, **config}
    if given["attn_drop"]:
        raise BadValue(f"{name}: attn_drop is {given['attn_drop']}; ditbench drops outputs alone, as published.")
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=given["num_classes"],
        space="pixel",
    )
    settings: dict[str, Any] = {
        "depth": given["depth"],
        "width": given["hidden_size"],
        "heads": given["num_heads"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["mlp_ratio"],
        "bottleneck": given["bottleneck_dim"],
        "context": given["in_context_len"],
        "context_start": given["in_context_start"],
        "dropout": given["proj_drop"],
        "time": "unit",
    }
    return spec, settings
