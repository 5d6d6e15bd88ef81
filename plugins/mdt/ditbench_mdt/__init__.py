"""MDT v1 and v2 (Gao et al., 2023) for ditbench: DiT that also learns to fill in masked latent tokens."""

import ditbench

SIZES_V1: dict[str, dict[str, int]] = {
    # depth counts encoder and decoder blocks, not the side block
    "nano":   {"depth": 4, "width":  96, "heads": 4, "patch_size": 2, "decoder": 2},
    "nano/4": {"depth": 3, "width": 128, "heads": 4, "patch_size": 4, "decoder": 1},
    "S/2":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 2, "decoder": 2},
    "S/4":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 4, "decoder": 2},  # not of the paper
    "B/2":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 2, "decoder": 2},
    "L/2":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2, "decoder": 2},
    "XL/2": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2, "decoder": 2},
}  # fmt: skip

SIZES_V2: dict[str, dict[str, int]] = {
    "nano":   {"depth": 4, "width":  92, "heads": 4, "patch_size": 2, "decoder": 2},
    "nano/4": {"depth": 4, "width": 104, "heads": 4, "patch_size": 4, "decoder": 2},
    "S/2":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 2, "decoder": 6},
    "S/4":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 4, "decoder": 6},  # not of the paper
    "B/2":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 2, "decoder": 6},
    "L/2":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2, "decoder": 4},
    "XL/2": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2, "decoder": 4},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True)
SPECS = {size: {"nano": DIGITS, "nano/4": FASHION_32}.get(size, IMAGENET_256) for size in SIZES_V1}

LADDER_V1 = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 44, "heads": 2, "decoder": 1},
            0.25: {"depth": 2, "width": 64, "heads": 2, "decoder": 1},
            0.5: {"depth": 3, "width": 76, "heads": 4, "decoder": 2},
            2: {"depth": 6, "width": 112, "heads": 4, "decoder": 3},
            4: {"depth": 8, "width": 144, "heads": 6, "decoder": 4},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 48, "heads": 2, "decoder": 1},
            0.25: {"depth": 2, "width": 72, "heads": 2, "decoder": 1},
            0.5: {"depth": 2, "width": 104, "heads": 4, "decoder": 1},
            2: {"depth": 4, "width": 160, "heads": 5, "decoder": 1},
            4: {"depth": 6, "width": 192, "heads": 6, "decoder": 2},
        },
        narrow={"width": 64, "heads": 2},
        wide={"width": 192, "heads": 6},
    ),
}

LADDER_V2 = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "width": 36, "heads": 2, "decoder": 1},
            0.25: {"depth": 3, "width": 52, "heads": 2, "decoder": 1},
            0.5: {"depth": 3, "width": 76, "heads": 4, "decoder": 1},
            2: {"depth": 5, "width": 116, "heads": 4, "decoder": 3},
            4: {"depth": 7, "width": 144, "heads": 6, "decoder": 3},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "width": 40, "heads": 2, "decoder": 1},
            0.25: {"depth": 3, "width": 60, "heads": 2, "decoder": 1},
            0.5: {"depth": 3, "width": 84, "heads": 3, "decoder": 1},
            2: {"depth": 5, "width": 132, "heads": 6, "decoder": 3},
            4: {"depth": 6, "width": 180, "heads": 6, "decoder": 2},
        },
        narrow={"width": 52, "heads": 2},
        wide={"width": 156, "heads": 6},
    ),
}

OPTIONS = {
    "mask": ditbench.Option(default=True, doc="the second, masked forward pass of every training step"),
    "side": ditbench.Option(default=True, doc="the side block that fills in the masked tokens"),
    "decoder": ditbench.Option(default=2, doc="how many of the blocks form the decoder, which sees all tokens"),
    "bias": ditbench.Option(default=True, doc="the relative position bias of every attention"),
    "position": ditbench.Option(
        default="learned", choices=("learned", "fixed"), doc="whether the sine-cosine tables are trained"
    ),
    "mask_ratio": ditbench.Option(default=0.3, doc="the share of the tokens that the encoder does not see"),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}
OPTIONS_V2 = {
    **OPTIONS,
    "decoder": ditbench.Option(default=4, doc=OPTIONS["decoder"].doc),
    "mask_ratio": ditbench.Option(default=0.3, doc="the smallest mask ratio; drawn uniformly at every step"),
    "mask_ratio_max": ditbench.Option(default=0.5, doc="the largest mask ratio"),
}

_PLAIN: dict[str, ditbench.Value] = {"weight_decay": 0.0, "warmup_steps": 0, "decay": "constant"}
_AS_DIT: dict[str, ditbench.Value] = {"schedule": "linear", "learn_variance": True}


def native_v1(space: str, resolution: int, size: str) -> ditbench.Native:
    """DiT's recipe at three times its learning rate."""
    return ditbench.Native(
        source="arXiv:2303.14389, published code of v1",
        recipe={"optimizer": "adamw", "learning_rate": 3e-4, "betas": (0.9, 0.999), "clip_norm": None, **_PLAIN},
        objectives={"iddpm": _AS_DIT},
    )


def native_v2(space: str, resolution: int, size: str) -> ditbench.Native:
    """Adan with its default betas, and the squared error weighted by min(SNR, 5) / SNR."""
    return ditbench.Native(
        source="arXiv:2303.14389, published code of v2; for S its run script",
        recipe={
            "optimizer": "adan",
            "learning_rate": 5e-4 if size in ("S/2", "S/4") else 3e-4,
            "betas": (0.98, 0.92, 0.99),
            "clip_norm": 1.0,
            **_PLAIN,
        },
        objectives={"iddpm": {**_AS_DIT, "min_snr_gamma": 5.0}},
    )


MDT = ditbench.Architecture(
    name="mdt",
    build="ditbench_mdt.model:MDT",
    sizes=SIZES_V1,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER_V1,
    convert_reference="ditbench_mdt.reference:convert_mdt",
    native=native_v1,
    paper="arXiv:2303.14389",
    licence="Apache-2.0",
    description="MDT v1: DiT with relative position bias that also learns to fill in masked tokens",
)

MDT_V2 = ditbench.Architecture(
    name="mdtv2",
    build="ditbench_mdt.model:MDTv2",
    sizes=SIZES_V2,
    specs=SPECS,
    options=OPTIONS_V2,
    ladder=LADDER_V2,
    convert_reference="ditbench_mdt.reference:convert_mdtv2",
    native=native_v2,
    paper="arXiv:2303.14389",
    licence="Apache-2.0",
    description="MDT v2: MDT with long skips in the encoder and the input fed to every decoder block",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [MDT, MDT_V2]
