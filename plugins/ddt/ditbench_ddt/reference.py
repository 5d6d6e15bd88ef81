"""What the published DDT and DiT^DH call their parameters and their settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ditbench import BadValue, DenoiserSpec

EMBEDDINGS = r"(x_embedder\.proj|s_embedder\.proj|t_embedder\.mlp\.[02]|final_layer\.linear)\.(weight|bias)"
LABELS = r"y_embedder\.embedding_table\.weight"
DDT = re.compile(
    rf"{EMBEDDINGS}|{LABELS}|final_layer\.adaLN_modulation\.1\.(weight|bias)"
    r"|blocks\.\d+\.((norm[12]|attn\.(qkv|[qk]_norm)|mlp\.(w12|w3))\.weight|(attn\.proj|adaLN_modulation\.1)\.(weight|bias))"
)
DIT_DH = re.compile(
    rf"{EMBEDDINGS}|{LABELS}|pos_embed|t_embedder\.W|final_layer\.norm_final\.weight"
    r"|(s_projector|final_layer\.adaLN_modulation\.1)\.(weight|bias)"
    r"|blocks\.\d+\.(norm[12]\.weight|(attn\.(qkv|proj|[qk]_norm)|mlp\.(fc1|fc2|w12|w3)|adaLN_modulation\.1)"
    r"\.(weight|bias))"
)
ANGLES = re.compile(r"(enc|dec)_feat_rope\.freqs_(cos|sin)")  # buffers of theirs; ours follow from the grid
GATE = re.compile(r"(blocks\.\d+\.mlp)\.w1\.weight")  # w12 is w1 above w3, w3 is their w2

DEFAULTS: dict[str, dict[str, Any]] = {
    "ddt": {
        "in_channels": 4,
        "num_groups": 12,
        "hidden_size": 1152,
        "num_blocks": 18,
        "num_encoder_blocks": 4,
        "patch_size": 2,
        "num_classes": 1000,
        "learn_sigma": False,
        "input_size": 32,
    },
    "dit-dh": {
        "input_size": 16,
        "patch_size": 1,
        "in_channels": 768,
        "hidden_size": [1152, 2048],
        "depth": [28, 2],
        "num_heads": [16, 16],
        "mlp_ratio": 4.0,
        "class_dropout_prob": 0.1,
        "num_classes": 1000,
        "use_qknorm": False,
        "use_swiglu": True,
        "use_rope": True,
        "use_rmsnorm": True,
        "wo_shift": False,
        "use_pos_embed": True,
    },
}


def convert_ddt(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names; `BadValue` names a key that a DDT does not have.

    Weights don't tell two things. Their time is 1 - t / 1000, in waves of another period: build with ``time="unit"``.
    What they give is the image minus the noise; ditbench's `flow` is trained on the noise minus the image, so negate
    the output to sample.
    """
    converted = {}
    for key, tensor in state_dict.items():
        if gate := GATE.fullmatch(key):
            converted[f"{gate[1]}.w12.weight"] = torch.cat([tensor, _of(state_dict, f"{gate[1]}.w3.weight")])
            converted[f"{gate[1]}.w3.weight"] = _of(state_dict, f"{gate[1]}.w2.weight")
        elif not re.fullmatch(r"blocks\.\d+\.mlp\.w[23]\.weight", key):  # taken with the gate
            converted[key.replace("adaLN_modulation.0.", "adaLN_modulation.1.")] = tensor
    return _known(converted, DDT, "ddt")


def convert_dit_dh(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names, which are the same; `BadValue` names a key that a DiT^DH does not have.

    Their time is t / 1000, as ours is there, and what they give is the noise minus the image, as ditbench's `flow`.
    """
    return _known({key: tensor for key, tensor in state_dict.items() if not ANGLES.fullmatch(key)}, DIT_DH, "dit-dh")


def _of(state_dict: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state_dict:
        raise BadValue(f"ddt: {key!r} is missing.")
    return state_dict[key]


def _known(converted: dict[str, Tensor], known: re.Pattern[str], name: str) -> dict[str, Tensor]:
    for key in converted:
        if not known.fullmatch(key):
            raise BadValue(f"{name}: {key!r} is no parameter of a published {name}; pass its bare state dict.")
    return converted


def from_reference_config(config: Mapping[str, Any], name: str) -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments, with DDT's `input_size`, as a spec and settings of `DDT` or `DiTDH`.

    Without label dropout the published label table has no row for the null label, so the last class takes its place.
    """
    defaults = DEFAULTS[name]
    unknown = config.keys() - defaults.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published {name}.")
    given = {**defaults, **config}
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=given["num_classes"] - (given.get("class_dropout_prob", 0.1) <= 0),
        space="latent",
        learn_variance=given.get("learn_sigma", False),
    )
    return spec, _settings_of_ddt(given) if name == "ddt" else _settings_of_dit_dh(given)


def _settings_of_ddt(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "depth": given["num_blocks"],
        "encoder": given["num_encoder_blocks"],
        "width": given["hidden_size"],
        "heads": given["num_groups"],
        "patch_size": given["patch_size"],
        "time": "unit",
    }


def _settings_of_dit_dh(given: Mapping[str, Any]) -> dict[str, Any]:
    (depth, head_depth), (width, head_width), (heads, head_heads) = (
        given[name] for name in ("depth", "hidden_size", "num_heads")
    )
    return {
        "depth": depth,
        "width": width,
        "heads": heads,
        "patch_size": given["patch_size"],
        "head_depth": head_depth,
        "head_width": head_width,
        "head_heads": head_heads,
        "mlp_ratio": given["mlp_ratio"],
        "swiglu": given["use_swiglu"],
        "rope": given["use_rope"],
        "rmsnorm": given["use_rmsnorm"],
        "qknorm": given["use_qknorm"],
        "shift": not given["wo_shift"],
        "position": given["use_pos_embed"],
    }
