"""What the published MDT v1 and v2 call their parameters and their settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec

BLOCKS = {  # by architecture: the published name of each list of blocks -> ours
    "mdt": {"blocks": "blocks"},
    "mdtv2": {"en_inblocks": "in_blocks", "en_outblocks": "out_blocks", "de_blocks": "decoder_blocks"},
}
PLAIN = re.compile(
    r"pos_embed|decoder_pos_embed|mask_token|y_embedder\.embedding_table\.weight"
    r"|(x_embedder\.proj|t_embedder\.mlp\.[02]|final_layer\.linear|final_layer\.adaLN_modulation\.1)\.(weight|bias)"
)
IN_BLOCK = re.compile(r"(\w+)\.(\d+)\.(.+)")
IN_BLOCK_SAME = re.compile(r"(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2|adaLN_modulation\.1)\.(weight|bias)")
IN_BLOCK_RENAMED = {
    "attn.rel_pos_bias.relative_position_bias_table": "bias_table",
    "skip_linear.weight": "fuse.weight",
    "skip_linear.bias": "fuse.bias",
}
INDEX = "attn.rel_pos_bias.relative_position_index"  # a buffer of theirs; ours follows from the grid

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
    "learn_sigma": True,
    "mask_ratio": None,
    "decode_layer": None,
}
DECODER = {"mdt": 2, "mdtv2": 4}  # where the settings don't name it
RANGE = 0.2  # how far above the given mask ratio the published v2 may draw it


def convert_mdt(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict of v1 under our names; `BadValue` names a key that it does not have."""
    return _convert(state_dict, "mdt")


def convert_mdtv2(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict of v2 under our names; `BadValue` names a key that it does not have."""
    return _convert(state_dict, "mdtv2")


def _convert(state_dict: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {
        ours: tensor
        for key, tensor in state_dict.items()
        if not key.endswith("." + INDEX) and (ours := _our_name(key, name))
    }


def _our_name(key: str, name: str) -> str:
    if PLAIN.fullmatch(key):
        return key
    place = IN_BLOCK.fullmatch(key)
    if place:
        prefix = "side_block" if key.startswith("sideblocks.0.") else _our_block(place[1], place[2], name)
        inside = place[3] if IN_BLOCK_SAME.fullmatch(place[3]) else IN_BLOCK_RENAMED.get(place[3])
        if prefix and inside:
            return f"{prefix}.{inside}"
    raise BadValue(f"{name}: {key!r} is no parameter of a published {name}; pass its bare state dict.")


def _our_block(blocks: str, number: str, name: str) -> str:
    return f"{BLOCKS[name][blocks]}.{number}" if blocks in BLOCKS[name] else ""


def from_reference_config(config: Mapping[str, Any], name: str) -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments as a spec and settings of `MDT` or `MDTv2`.

    The published network always holds the mask token and the side block, whether it masks or not, as for sampling:
    without a ratio it gets the paper's. v2 draws it from the one given to 0.2 above. v2 halves the encoder's depth
    rounding down. Without label dropout the published label table has no row for the null label, so the last class
    takes its place.
    """
    unknown = config.keys() - DEFAULTS.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published {name}.")
    given = {**DEFAULTS, **config}
    decoder = DECODER[name] if given["decode_layer"] is None else int(given["decode_layer"])
    odd = (given["depth"] - decoder) % 2 if name == "mdtv2" else 0
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=given["num_classes"] - (given["class_dropout_prob"] <= 0),
        space="latent" if given["in_channels"] == 4 else "pixel",
        learn_variance=given["learn_sigma"],
    )
    ratio = 0.3 if given["mask_ratio"] is None else float(given["mask_ratio"])
    settings: dict[str, Any] = {
        "depth": given["depth"] - odd,
        "width": given["hidden_size"],
        "heads": given["num_heads"],
        "patch_size": given["patch_size"],
        "mlp_ratio": given["mlp_ratio"],
        "decoder": decoder,
        "mask_ratio": ratio,
    }
    return spec, settings if name == "mdt" else {**settings, "mask_ratio_max": ratio + RANGE}
