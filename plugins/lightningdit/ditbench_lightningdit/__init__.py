"""LightningDiT (Yao et al., 2025) for ditbench: DiT with the parts of modern language models, each a switch."""

import ditbench

SIZES: dict[str, dict[str, int]] = {
    # for the tracks digits and fashion32
    "nano":   {"depth": 4, "width":  96, "heads": 4, "patch_size": 2},
    "nano/4": {"depth": 3, "width": 128, "heads": 4, "patch_size": 4},
    # DiT's, which the published code does not name
    "S/2":    {"depth": 12, "width":  384, "heads":  6, "patch_size": 2},
    "S/4":    {"depth": 12, "width":  384, "heads":  6, "patch_size": 4},
    # the published ones; the number behind the slash is the patch size
    "B/1":    {"depth": 12, "width":  768, "heads": 12, "patch_size": 1},
    "B/2":    {"depth": 12, "width":  768, "heads": 12, "patch_size": 2},
    "L/2":    {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2},
    "XL/1":   {"depth": 28, "width": 1152, "heads": 16, "patch_size": 1},
    "XL/2":   {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2},
    "1p0B/1": {"depth": 24, "width": 1536, "heads": 24, "patch_size": 1},
    "1p6B/1": {"depth": 28, "width": 1792, "heads": 28, "patch_size": 1},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent")
VA_VAE_256 = ditbench.DenoiserSpec(channels=32, resolution=16, classes=1000, space="latent")  # of the paper
SPECS = {
    size: {"nano": DIGITS, "nano/4": FASHION_32}.get(size, VA_VAE_256 if size.endswith("/1") else IMAGENET_256)
    for size in SIZES
}

# rotary positions want heads whose width is a multiple of 4
LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width":  48, "heads": 2},
            0.25:  {"depth": 3, "width":  56, "heads": 2},
            0.5:   {"depth": 3, "width":  80, "heads": 4},
            2:     {"depth": 5, "width": 120, "heads": 5},
            4:     {"depth": 7, "width": 144, "heads": 6},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width":  52, "heads": 1},
            0.25:  {"depth": 2, "width":  72, "heads": 2},
            0.5:   {"depth": 2, "width": 108, "heads": 3},
            2:     {"depth": 4, "width": 160, "heads": 5},
            4:     {"depth": 5, "width": 200, "heads": 5},
        },
        narrow={"width": 64, "heads": 2},
        wide={"width": 192, "heads": 6},
    ),
}  # fmt: skip

OPTIONS = {
    "swiglu": ditbench.Option(default=True, doc="SwiGLU in place of the MLP with GELU, at as many MACs"),
    "rope": ditbench.Option(default=True, doc="rotary positions in attention, beside the fixed table"),
    "rmsnorm": ditbench.Option(default=True, doc="RMS norm with a scale in place of layer norm without one"),
    "qknorm": ditbench.Option(default=False, doc="q and k are normed in each head; against NaN in bfloat16"),
    "shift": ditbench.Option(default=True, doc="whether time and label shift the blocks' norms, or scale them alone"),
    "time": ditbench.Option(
        default="thousand",
        choices=("thousand", "unit"),
        doc="what the sinusoids see: t in [0, 1000], or 1 - t / 1000, for published weights",
    ),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """One recipe for all; of its loss only the squared error, for no objective here has the cosine beside it."""
    return ditbench.Native(
        source="arXiv:2501.01423, published configuration",
        recipe={
            "optimizer": "adamw",
            "learning_rate": 2e-4,
            "betas": (0.9, 0.95),
            "weight_decay": 0.0,
            "warmup_steps": 0,
            "decay": "constant",
            "clip_norm": None,
        },
        objectives={"flow": {"time": "logit-normal"}},
    )


ARCHITECTURE = ditbench.Architecture(
    name="lightningdit",
    build="ditbench_lightningdit.model:LightningDiT",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_lightningdit.reference:convert_reference",
    native=native,
    paper="arXiv:2501.01423",
    licence="Apache-2.0",
    description="LightningDiT: DiT with SwiGLU, rotary positions, RMS norm and qk-norm, each a switch",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
