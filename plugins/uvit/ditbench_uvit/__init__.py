"""U-ViT (Bao et al., 2023) for ditbench: time, label and patches are all tokens, joined by long skips."""

import ditbench

SIZES: dict[str, dict[str, int | float | str]] = {
    # Table 2 of the paper; depth counts all layers; H was trained without the last convolution
    "S/2":      {"depth": 13, "width":  512, "heads":  8, "patch_size": 2},
    "S/4":      {"depth": 13, "width":  512, "heads":  8, "patch_size": 4},
    "S/2-deep": {"depth": 17, "width":  512, "heads":  8, "patch_size": 2},
    "M/4":      {"depth": 17, "width":  768, "heads": 12, "patch_size": 4},
    "L/2":      {"depth": 21, "width": 1024, "heads": 16, "patch_size": 2},
    "L/4":      {"depth": 21, "width": 1024, "heads": 16, "patch_size": 4},
    "H/2":      {"depth": 29, "width": 1152, "heads": 16, "patch_size": 2, "conv": "none"},
    "H/4":      {"depth": 29, "width": 1152, "heads": 16, "patch_size": 4, "conv": "none"},
    # for digits and fashion32: as many MACs as dit's, and a start that short training suffices for (see the README)
    "nano": {
        "depth": 3, "width": 104, "heads": 4, "patch_size": 2,
        "init_std": 0.1, "position_std": 0.5, "conv_identity": True,
    },
    "nano/4": {
        "depth": 3, "width": 124, "heads": 4, "patch_size": 4,
        "init_std": 0.1, "position_std": 0.5, "conv_identity": True,
    },
}  # fmt: skip

SPECS = {
    "S/2": ditbench.DenoiserSpec(channels=3, resolution=32, classes=0, space="pixel"),  # CIFAR-10
    "S/4": ditbench.DenoiserSpec(channels=3, resolution=64, classes=0, space="pixel"),  # CelebA
    "S/2-deep": ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent"),
    "M/4": ditbench.DenoiserSpec(channels=3, resolution=64, classes=999, space="pixel"),  # ImageNet 64: no null label
    "L/2": ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent"),  # ImageNet 256
    "L/4": ditbench.DenoiserSpec(channels=4, resolution=64, classes=1000, space="latent"),  # ImageNet 512
    "H/2": ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent"),
    "H/4": ditbench.DenoiserSpec(channels=4, resolution=64, classes=1000, space="latent"),
    "nano": ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel"),
    "nano/4": ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel"),
}

LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "width": 36, "heads": 2},
            0.25: {"depth": 3, "width": 52, "heads": 2},
            0.5: {"depth": 3, "width": 72, "heads": 3},
            2: {"depth": 5, "width": 112, "heads": 4},
            4: {"depth": 5, "width": 160, "heads": 5},
        },
        narrow={"width": 52, "heads": 2},
        wide={"width": 156, "heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "width": 40, "heads": 2},
            0.25: {"depth": 3, "width": 60, "heads": 2},
            0.5: {"depth": 3, "width": 84, "heads": 3},
            2: {"depth": 5, "width": 136, "heads": 4},
            4: {"depth": 5, "width": 192, "heads": 6},
        },
        narrow={"width": 60, "heads": 2},
        wide={"width": 180, "heads": 6},
    ),
}

OPTIONS = {
    "skip": ditbench.Option(
        default="concat",
        choices=("concat", "add", "linear-add", "add-linear", "none"),
        doc="how a long skip s joins the main branch h: Linear([h, s]), h + s, Linear(h + s), h + Linear(s)",
    ),
    "time": ditbench.Option(
        default="token", choices=("token", "adaln"), doc="time as a token or as scale and shift of every norm"
    ),
    "conv": ditbench.Option(
        default="after", choices=("after", "before", "none"), doc="the 3x3 convolution, seen from the linear head"
    ),
    "patch": ditbench.Option(default="linear", choices=("linear", "conv-stack"), doc="how pixels become tokens"),
    "position": ditbench.Option(default="learned", choices=("learned", "sincos", "none"), doc="position embedding"),
    "time_mlp": ditbench.Option(default=False, doc="a two-layer MLP behind the sinusoids of the time"),
    "init_std": ditbench.Option(default=0.02, doc="standard deviation that Linears start with"),
    "position_std": ditbench.Option(default=0.02, doc="standard deviation that the position table starts with"),
    "conv_identity": ditbench.Option(default=False, doc="whether the last convolution starts as the identity"),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """The published settings: CIFAR-10's up to 32 pixels, then those of CelebA (S/4) or ImageNet."""
    cifar10 = space == "pixel" and resolution <= 32
    imagenet64 = space == "pixel" and resolution > 32 and size != "S/4"
    schedule = "scaled-linear" if size.startswith("H/") else "linear"  # linear: their VP-SDE, in discrete steps
    return ditbench.Native(
        source="arXiv:2209.12152, published settings",
        recipe={
            "optimizer": "adamw",
            "learning_rate": 3e-4 if imagenet64 else 2e-4,
            "betas": (0.99, 0.999) if cifar10 else (0.99, 0.99),
            "weight_decay": 0.03,
            "warmup_steps": 2500 if cifar10 else 5000,
            "decay": "constant",
            "clip_norm": None,
        },
        objectives={"iddpm": {"schedule": schedule, "learn_variance": False}, "ddpm": {"schedule": schedule}},
    )


ARCHITECTURE = ditbench.Architecture(
    name="uvit",
    build="ditbench_uvit.model:UViT",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_uvit.reference:convert_reference",
    native=native,
    paper="arXiv:2209.12152",
    licence="Apache-2.0",
    description="U-ViT: time, label and patches as tokens, long skips between shallow and deep layers",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
