"""DiT (Peebles & Xie, 2023) for ditbench: a ViT on patches whose norms are modulated by time and label."""

import ditbench

SIZES: dict[str, dict[str, int]] = {
    # for the tracks digits and fashion32
    "nano":   {"depth": 4, "width":  96, "heads": 4, "patch_size": 2},
    "nano/4": {"depth": 3, "width": 128, "heads": 4, "patch_size": 4},
    # Table 1 of the paper; the number behind the slash is the patch size
    "S/2":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 2},
    "S/4":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 4},
    "S/8":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 8},
    "B/2":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 2},
    "B/4":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 4},
    "B/8":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 8},
    "L/2":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2},
    "L/4":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 4},
    "L/8":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 8},
    "XL/2": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2},
    "XL/4": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 4},
    "XL/8": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 8},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True)
SPECS = {size: {"nano": DIGITS, "nano/4": FASHION_32}.get(size, IMAGENET_256) for size in SIZES}

LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 48, "heads": 2},
            0.25: {"depth": 3, "width": 56, "heads": 2},
            0.5: {"depth": 3, "width": 80, "heads": 4},
            2: {"depth": 5, "width": 120, "heads": 5},
            4: {"depth": 7, "width": 144, "heads": 6},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 52, "heads": 2},
            0.25: {"depth": 2, "width": 76, "heads": 2},
            0.5: {"depth": 2, "width": 108, "heads": 3},
            2: {"depth": 4, "width": 160, "heads": 5},
            4: {"depth": 5, "width": 204, "heads": 6},
        },
        narrow={"width": 64, "heads": 2},
        wide={"width": 192, "heads": 6},
    ),
}

OPTIONS = {
    "conditioning": ditbench.Option(
        default="adaln-zero",
        choices=("adaln-zero", "adaln", "cross-attention", "in-context", "adaln-single"),
        doc="how time and label reach the blocks (Section 3.2; the last one is PixArt's, arXiv:2310.00426)",
    ),
    "route": ditbench.Option(
        default="none",
        choices=("none", "tread"),
        doc="in training, half of the tokens pass by the middle blocks (TREAD, arXiv:2501.04765)",
        later=True,
    ),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """One recipe for all (Section 4): no warm-up, no decay of the learning rate, no weight decay."""
    return ditbench.Native(
        source="arXiv:2212.09748, Section 4; betas and loss as in the published code",
        recipe={
            "optimizer": "adamw",
            "learning_rate": 1e-4,
            "betas": (0.9, 0.999),
            "weight_decay": 0.0,
            "warmup_steps": 0,
            "decay": "constant",
            "clip_norm": None,
        },
        objectives={"iddpm": {"schedule": "linear", "learn_variance": True}},
    )


ARCHITECTURE = ditbench.Architecture(
    name="dit",
    build="ditbench_dit.model:DiT",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_dit.reference:convert_reference",
    native=native,
    paper="arXiv:2212.09748",
    licence="Apache-2.0",
    description="DiT: a plain transformer on patches, its norms modulated and its branches gated by time and label",
    also={"sit": "SiT (arXiv:2401.08740) is dit's network: choose dit, on a track whose objective is flow."},
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
