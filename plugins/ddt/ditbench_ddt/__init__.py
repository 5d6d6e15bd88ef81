"""DDT (Wang et al., 2025) and DiT^DH (Zheng et al., 2025) for ditbench: a decoder that is told token by token."""

from typing import Any

import ditbench

SIZES_DDT: dict[str, dict[str, int]] = {
    # for the tracks digits and fashion32: as many MACs as dit's
    "nano":   {"depth": 6, "encoder": 4, "width": 72, "heads": 3, "patch_size": 2},
    "nano/4": {"depth": 8, "encoder": 6, "width": 72, "heads": 3, "patch_size": 4},
    # DiT's, which is not of the paper
    "S/2":  {"depth": 12, "encoder":  8, "width":  384, "heads":  6, "patch_size": 2},
    "S/4":  {"depth": 12, "encoder":  8, "width":  384, "heads":  6, "patch_size": 4},
    # the published ones; depth counts both encoder and decoder
    "B/2":  {"depth": 12, "encoder":  8, "width":  768, "heads": 12, "patch_size": 2},
    "L/2":  {"depth": 24, "encoder": 20, "width": 1024, "heads": 16, "patch_size": 2},
    "XL/2": {"depth": 28, "encoder": 22, "width": 1152, "heads": 16, "patch_size": 2},
}  # fmt: skip

_HEAD = {"head_depth": 1, "head_heads": 4}
SIZES_DIT_DH: dict[str, dict[str, int]] = {
    # for the tracks digits and fashion32: as many MACs as dit's, and one block of about twice the width as the head
    "nano":   {"depth": 4, "width": 64, "heads": 4, "patch_size": 2, "head_width": 112, **_HEAD},
    "nano/4": {"depth": 5, "width": 64, "heads": 4, "patch_size": 4, "head_width": 128, **_HEAD},
    # the published ones; depth, width and heads are those of the body, the head is as the options say
    "S/1":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 1},
    "B/1":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 1},
    "L/1":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 1},
    "XL/1": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 1},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent")
DINO_V2_256 = ditbench.DenoiserSpec(channels=768, resolution=16, classes=1000, space="latent")  # its base's features
NANO = {"nano": DIGITS, "nano/4": FASHION_32}
SPECS_DDT = {size: NANO.get(size, IMAGENET_256) for size in SIZES_DDT}
SPECS_DIT_DH = {size: NANO.get(size, DINO_V2_256) for size in SIZES_DIT_DH}

LADDER_DDT = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "encoder": 2, "width":  36, "heads": 1},
            0.25:  {"depth": 3, "encoder": 2, "width":  48, "heads": 2},
            0.5:   {"depth": 5, "encoder": 3, "width":  56, "heads": 2},
            2:     {"depth": 7, "encoder": 5, "width":  96, "heads": 4},
            4:     {"depth": 9, "encoder": 6, "width": 120, "heads": 5},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth":  4, "encoder": 3, "width":  32, "heads": 1},
            0.25:  {"depth":  4, "encoder": 3, "width":  48, "heads": 2},
            0.5:   {"depth":  6, "encoder": 4, "width":  56, "heads": 2},
            2:     {"depth":  9, "encoder": 7, "width":  96, "heads": 4},
            4:     {"depth": 12, "encoder": 9, "width": 120, "heads": 5},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
}  # fmt: skip

# the head stays one block of about twice the body's width
LADDER_DIT_DH = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "width":  24, "heads": 2, "head_width":  40, "head_heads": 2},
            0.25:  {"depth": 3, "width":  32, "heads": 2, "head_width":  60, "head_heads": 3},
            0.5:   {"depth": 3, "width":  48, "heads": 3, "head_width":  84, "head_heads": 3},
            2:     {"depth": 6, "width":  80, "heads": 5, "head_width": 144, "head_heads": 6},
            4:     {"depth": 7, "width": 112, "heads": 7, "head_width": 196, "head_heads": 7},
        },
        narrow={"width": 32, "heads": 2, "head_width": 56, "head_heads": 2},
        wide={"width": 96, "heads": 6, "head_width": 168, "head_heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width":  24, "heads": 2, "head_width":  48, "head_heads": 2},
            0.25:  {"depth": 3, "width":  32, "heads": 2, "head_width":  72, "head_heads": 2},
            0.5:   {"depth": 3, "width":  48, "heads": 3, "head_width":  96, "head_heads": 3},
            2:     {"depth": 8, "width":  80, "heads": 5, "head_width": 160, "head_heads": 5},
            4:     {"depth": 9, "width": 112, "heads": 7, "head_width": 224, "head_heads": 7},
        },
        narrow={"width": 32, "heads": 2, "head_width": 64, "head_heads": 2},
        wide={"width": 96, "heads": 6, "head_width": 192, "head_heads": 6},
    ),
}  # fmt: skip

CHECKPOINTING = ditbench.Option(default=False, doc="recompute activations in the backward pass")
OPTIONS_DDT = {
    "encoder": ditbench.Option(default=8, doc="how many of the blocks form the encoder"),
    "time": ditbench.Option(
        default="thousand",
        choices=("thousand", "unit"),
        doc="what the waves see: t in [0, 1000], or 1 - t / 1000 with a period of 10, for published weights",
    ),
    "checkpointing": CHECKPOINTING,
}
OPTIONS_DIT_DH = {
    "head_depth": ditbench.Option(default=2, doc="blocks of the head"),
    "head_width": ditbench.Option(default=2048, doc="width of the head"),
    "head_heads": ditbench.Option(default=16, doc="attention heads in the head"),
    "swiglu": ditbench.Option(default=True, doc="SwiGLU in place of the MLP with GELU, at as many MACs"),
    "rope": ditbench.Option(default=True, doc="rotary positions in attention"),
    "rmsnorm": ditbench.Option(default=True, doc="RMS norm with a scale in place of layer norm without one"),
    "qknorm": ditbench.Option(default=False, doc="q and k are normed in each head"),
    "shift": ditbench.Option(
        default=True, doc="whether what tells the blocks shifts their norms, or scales them alone"
    ),
    "position": ditbench.Option(default=True, doc="the fixed position table in front of the body"),
    "checkpointing": CHECKPOINTING,
}

_ADAMW: dict[str, Any] = {
    "optimizer": "adamw",
    "betas": (0.9, 0.95),
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "decay": "constant",
    "clip_norm": None,
}


def native_ddt(space: str, resolution: int, size: str) -> ditbench.Native:
    """One recipe for all; without the alignment to another network's features, with which the paper's figures are."""
    return ditbench.Native(
        source="arXiv:2504.05741, published configuration",
        recipe={**_ADAMW, "learning_rate": 1e-4},
        objectives={"flow": {"time": "logit-normal"}},
    )


def native_dit_dh(space: str, resolution: int, size: str) -> ditbench.Native:
    """One recipe for all; of its rate what it has for 40 epochs, before it falls to a tenth in 760 more."""
    return ditbench.Native(
        source="arXiv:2510.11690, published configuration",
        recipe={**_ADAMW, "learning_rate": 2e-4},
        objectives={"flow": {"time": "uniform"}},
    )


DDT = ditbench.Architecture(
    name="ddt",
    build="ditbench_ddt.model:DDT",
    sizes=SIZES_DDT,
    specs=SPECS_DDT,
    options=OPTIONS_DDT,
    ladder=LADDER_DDT,
    convert_reference="ditbench_ddt.reference:convert_ddt",
    native=native_ddt,
    paper="arXiv:2504.05741",
    licence="Apache-2.0",
    description="DDT: an encoder whose tokens tell each token of a decoder, which starts anew from the image",
)

DIT_DH = ditbench.Architecture(
    name="dit-dh",
    build="ditbench_ddt.model:DiTDH",
    sizes=SIZES_DIT_DH,
    specs=SPECS_DIT_DH,
    options=OPTIONS_DIT_DH,
    ladder=LADDER_DIT_DH,
    convert_reference="ditbench_ddt.reference:convert_dit_dh",
    native=native_dit_dh,
    paper="arXiv:2510.11690",
    licence="Apache-2.0",
    description="DiT^DH: LightningDiT that tells each token of a shallow and very wide head",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [DDT, DIT_DH]
