"""What the published latent DiffiT calls its parameters and its settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec, Value

KNOWN = re.compile(
    r"pos_embed"
    r"|(x_embedder\.proj|t_embedder\.mlp\.[02]|final_layer\.linear"
    r"|blocks\.\d+\.(attn\.qkv|attn\.qkv_temb|attn\.proj|mlp\.fc1|mlp\.fc2))\.(weight|bias)"
    r"|y_embedder\.embedding_table\.weight"
    r"|blocks\.\d+\.attn\.relative_position_bias_table"
)
DERIVED = re.compile(r"blocks\.\d+\.attn\.relative_position_index")

DEFAULTS: dict[str, Any] = {
    "input_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 1152,
    "depth": 30,  # of the class; the one named model, XL/2, has 28
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": True,
}


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names, which are the same; index tables are made anew."""
    converted = {}
    for key, tensor in state_dict.items():
        if DERIVED.fullmatch(key):
            continue
        if not KNOWN.fullmatch(key):
            raise BadValue(f"diffit: {key!r} is no parameter of the published latent DiffiT; pass its bare state dict.")
        converted[key] = tensor
    return converted


def from_reference_config(config: Mapping[str, Any], name: str = "diffit") -> tuple[DenoiserSpec, dict[str, Value]]:
    """The published constructor's arguments as a spec and settings of `build`.

    The published table has a null label only if labels are dropped in training.
    """
    unknown = config.keys() - DEFAULTS.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published latent DiffiT.")
    given = {**DEFAULTS, **config}
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=given["num_classes"] - (given["class_dropout_prob"] <= 0),
        space="latent",
        learn_variance=given["learn_sigma"],
    )
    settings: dict[str, Value] = {
        "model": "latent",
        "depth": given["depth"],
        "width": given["hidden_size"],
        "heads": given["num_heads"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["mlp_ratio"],
    }
    return spec, settings
