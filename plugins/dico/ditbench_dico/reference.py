"""What the published DiCo calls its parameters and its settings, and what we call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ditbench import BadValue, DenoiserSpec

STAGES = ("encoder_level_1", "encoder_level_2", "latent", "decoder_level_2", "decoder_level_1")
PARTS = {
    "conv1": "conv.enter",
    "conv2": "conv.depthwise",
    "ca.1": "conv.gate",
    "conv3": "conv.leave",
    "conv4": "mlp.enter",
    "conv5": "mlp.leave",
    "adaLN_modulation.1": "adaLN_modulation.1",
}
OTHERS = {
    "x_embedder.proj": "x_embedder",
    "down1_2.body.0": "down.0",
    "down2_3.body.0": "down.1",
    "up3_2.body.0": "up.0",
    "up2_1.body.0": "up.1",
    "reduce_chan_level2": "fuse.0",
    "reduce_chan_level1": "fuse.1",
    "final_layer.out_proj": "head.conv",
    "final_layer.adaLN_modulation.1": "head.adaLN_modulation.1",
    **{
        f"t_embedder_{level + 1}.mlp.{i}": f"conditions.{level}.t_embedder.mlp.{i}"
        for level in range(3)
        for i in (0, 2)
    },
}
BLOCK = re.compile(rf"({'|'.join(STAGES)})\.(\d+)\.({'|'.join(map(re.escape, PARTS))})\.(weight|bias)")
TABLE = re.compile(r"y_embedder\.embedding_table_([012])\.weight")
TIME = re.compile(r"t_embedder_([123])\.(mlp\.[02]\.(weight|bias))")

DEFAULTS: dict[str, Any] = {
    "input_size": 32,  # of our own: the published network takes any
    "in_channels": 4,
    "hidden_size": 1152,
    "depth": [2, 5, 8, 5, 2],  # of the class; every named model gives its own
    "mlp_ratio": 4,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": True,
}


def convert_reference(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names; its times are ours, 0 to 1000."""
    return {renamed(key): tensor for key, tensor in state_dict.items()}


def renamed(key: str) -> str:
    """Our name of one of the published network's parameters."""
    if block := BLOCK.fullmatch(key):
        stage, index, part, kind = block.groups()
        return f"stages.{STAGES.index(stage)}.{index}.{PARTS[part]}.{kind}"
    if table := TABLE.fullmatch(key):
        return f"conditions.{table[1]}.y_embedder.embedding_table.weight"
    if time := TIME.fullmatch(key):
        return f"conditions.{int(time[1]) - 1}.t_embedder.{time[2]}"
    module, _, kind = key.rpartition(".")
    if module not in OTHERS or kind not in ("weight", "bias"):
        raise BadValue(f"dico: {key!r} is no parameter of a published DiCo; pass its bare state dict.")
    return f"{OTHERS[module]}.{kind}"


def from_reference_config(config: Mapping[str, Any], name: str = "dico") -> tuple[DenoiserSpec, dict[str, Any]]:
    """The published constructor's arguments as a spec and settings of `DiCo`.

    Without label dropout the published label tables have no row for the null label, so the last class takes its place.
    """
    unknown = config.keys() - DEFAULTS.keys()
    if unknown:
        raise BadValue(f"{name}: {min(unknown)!r} is no argument of the published DiCo.")
    given = {**DEFAULTS, **config}
    spec = DenoiserSpec(
        channels=given["in_channels"],
        resolution=given["input_size"],
        classes=given["num_classes"] - (given["class_dropout_prob"] <= 0),
        space="latent" if given["in_channels"] == 4 else "pixel",
        learn_variance=given["learn_sigma"],
    )
    settings: dict[str, Any] = {
        "width": given["hidden_size"],
        "depths": ",".join(map(str, given["depth"])),
        "mlp_ratio": float(given["mlp_ratio"]),
    }
    return spec, settings
