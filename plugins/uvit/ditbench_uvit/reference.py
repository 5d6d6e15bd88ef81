"""What the published U-ViT calls its parameters and its settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec, Value

BLOCK = r"(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)"
KNOWN = re.compile(
    rf"pos_embed|(patch_embed\.proj|label_emb|time_embed\.[02]|norm|decoder_pred|final_layer"
    rf"|in_blocks\.\d+\.{BLOCK}|mid_block\.{BLOCK}|out_blocks\.\d+\.({BLOCK}|skip_linear))\.(weight|bias)"
)

DEFAULTS: dict[str, Any] = {
    "img_size": 224,
    "patch_size": 16,
    "in_chans": 3,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4.0,
    "qkv_bias": False,
    "mlp_time_embed": False,
    "num_classes": -1,
    "conv": True,
    "skip": True,
}
IRRELEVANT = {"qk_scale", "norm_layer", "use_checkpoint"}


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names: only the Linear of a long skip is called otherwise."""
    converted = {}
    for key, tensor in state_dict.items():
        if not KNOWN.fullmatch(key):
            raise BadValue(f"uvit: {key!r} is no parameter of a published U-ViT; pass its bare state dict.")
        converted[key.replace(".skip_linear.", ".skip.linear.")] = tensor
    return converted


def from_reference_config(config: Mapping[str, Any], name: str = "uvit") -> tuple[DenoiserSpec, dict[str, Value]]:
    """The published constructor's arguments as a spec and settings of `UViT`.

    The published depth leaves out the middle layer; its num_classes counts the null label and is -1 without labels.
    """
    unknown = config.keys() - DEFAULTS.keys() - IRRELEVANT
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published U-ViT.")
    given = {**DEFAULTS, **config}
    if given.get("qk_scale") is not None:
        raise BadValue(f"{name}: 'qk_scale' {given['qk_scale']} is not supported; leave it out.")
    spec = DenoiserSpec(
        channels=given["in_chans"],
        resolution=given["img_size"],
        classes=max(given["num_classes"] - 1, 0),
        space="latent" if given["in_chans"] == 4 else "pixel",
    )
    settings: dict[str, Value] = {
        "depth": given["depth"] // 2 * 2 + 1,
        "width": given["embed_dim"],
        "heads": given["num_heads"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["mlp_ratio"],
        "qkv_bias": given["qkv_bias"],
        "time_mlp": given["mlp_time_embed"],
        "conv": "after" if given["conv"] else "none",
        "skip": "concat" if given["skip"] else "none",
    }
    return spec, settings
