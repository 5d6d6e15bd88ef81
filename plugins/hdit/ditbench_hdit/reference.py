"""What the published HDiT (k-diffusion's `image_transformer_v2`) calls its parameters and settings, and what we do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec

PARTS = (  # of a block
    (r"self_attn\.norm\.linear\.weight", "norm1.linear.weight"),
    (r"self_attn\.qkv_proj\.weight", "attn.qkv.weight"),
    (r"self_attn\.scale", "attn.scale"),
    (r"self_attn\.pos_emb\.freqs", "attn.frequencies"),
    (r"self_attn\.out_proj\.weight", "attn.proj.weight"),
    (r"ff\.norm\.linear\.weight", "norm2.linear.weight"),
    (r"ff\.up_proj\.weight", "mlp.up.weight"),
    (r"ff\.down_proj\.weight", "mlp.down.weight"),
)
STAGES = ((r"down_levels\.(\d+)", r"down.\1"), (r"up_levels\.(\d+)", r"up.\1"), ("mid_level", "middle"))
NAMES = (  # of the published network, and ours
    (r"patch_in\.proj\.weight", "patch_in.weight"),
    (r"patch_out\.proj\.weight", "patch_out.weight"),
    (r"out_norm\.scale", "norm.scale"),
    (r"time_in_proj\.weight", "mapping.time.weight"),
    (r"class_emb\.weight", "mapping.label.weight"),
    (r"mapping\.in_norm\.scale", "mapping.norm_in.scale"),
    (r"mapping\.out_norm\.scale", "mapping.norm_out.scale"),
    (r"mapping\.blocks\.(\d+)\.norm\.scale", r"mapping.norms.\1.scale"),
    (r"mapping\.blocks\.(\d+)\.(up|down)_proj\.weight", r"mapping.mlps.\1.\2.weight"),
    (r"merges\.(\d+)\.proj\.weight", r"merges.\1.weight"),
    (r"splits\.(\d+)\.proj\.weight", r"splits.\1.weight"),
    (r"splits\.(\d+)\.fac", r"skips.\1.share"),
    *(
        (rf"{theirs}\.(?P<block>\d+)\.{part}", rf"{ours}.\g<block>.{name}")
        for theirs, ours in STAGES
        for part, name in PARTS
    ),
)
DEFAULTS: dict[str, Any] = {
    "input_size": 256,
    "in_channels": 3,
    "patch_size": 4,
    "num_classes": 0,
    "mapping": {"depth": 2, "width": 768, "d_ff": 2304},
}
KINDS = ("neighborhood", "global")


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names.

    Nothing here is augmented, of which the published network's features are then ones and zeros: what its Linear makes
    of them is the bias of the time's. Its times are ln(sigma) / 4, which the network makes of ours, 0 to 1000.
    """
    converted = {}
    for key, tensor in state_dict.items():
        if key == "time_emb.weight":
            converted["mapping.frequencies"] = tensor[:, 0]
        elif key == "aug_in_proj.weight":
            converted["mapping.time.bias"] = tensor[:, : tensor.shape[1] // 2].sum(dim=1)  # cosines first
        elif key != "aug_emb.weight":
            converted[renamed(key)] = tensor
    return converted


def renamed(key: str) -> str:
    """Our name of one of the published network's parameters."""
    for pattern, name in NAMES:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, name, key)
    raise BadValue(f"hdit: {key!r} is no parameter of a published HDiT; pass its bare state dict.")


def from_reference_config(config: Mapping[str, Any], name: str = "hdit") -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments, levels and all, as a spec and settings of `HDiT`."""
    unknown = config.keys() - DEFAULTS.keys() - {"levels"}
    if unknown or "levels" not in config:
        raise BadValue(f"{name}: {min(unknown, default='levels')!r} is not understood in a published HDiT's settings.")
    given = {**DEFAULTS, **config}
    levels = given["levels"]
    for level in levels:
        if level["attention"] not in KINDS:
            raise BadValue(f"{name}: attention {level['attention']!r} is not supported, only {' and '.join(KINDS)}.")
    kernels = [level["kernel_size"] if level["attention"] == "neighborhood" else 0 for level in levels]

    def listed(field: str) -> str:
        return ",".join(str(level[field]) for level in levels)

    spec = DenoiserSpec(
        channels=given["in_channels"], resolution=given["input_size"], classes=given["num_classes"], space="pixel"
    )
    settings: dict[str, Any] = {
        "patch_size": given["patch_size"],
        "widths": listed("width"),
        "depths": listed("depth"),
        "hiddens": listed("d_ff"),
        "kernels": ",".join(map(str, kernels)),
        "head_widths": listed("d_head"),
        "mapping_width": given["mapping"]["width"],
        "mapping_hidden": given["mapping"]["d_ff"],
        "mapping_depth": given["mapping"]["depth"],
    }
    return spec, settings
