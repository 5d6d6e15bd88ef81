"""DiffiT (Hatamizadeh et al., 2024) for ditbench: time-dependent self-attention, in latents and in pixels."""

import ditbench

SIZES: dict[str, dict[str, int | str]] = {
    # both models, each with as many MACs as dit's of that name
    "nano": {
        "depth": 4, "width": 96, "heads": 4, "patch_size": 2,
        "widths": "32,64", "blocks": "1,2", "window": 4, "head_width": 16, "time_width": 256,
    },
    "nano/4": {
        "depth": 3, "width": 128, "heads": 4, "patch_size": 4,
        "widths": "16,32,64", "blocks": "1,1,1", "window": 4, "head_width": 16, "time_width": 256,
    },
    "S/2": {
        "depth": 12, "width": 384, "heads": 6, "patch_size": 2,
        "widths": "128,256,256", "blocks": "3,4,4", "window": 4, "head_width": 32, "time_width": 512,
    },
    "S/4": {
        "depth": 12, "width": 384, "heads": 6, "patch_size": 4,
        "widths": "64,128,128,128", "blocks": "2,4,4,4", "window": 8, "head_width": 32, "time_width": 512,
    },
    # latent model; XL/2 is the published one, the others take DiT's depths and widths
    "B/2":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 2},
    "L/2":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2},
    "XL/2": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2},
    # image model of the paper; widths and blocks per resolution, the finest first
    "cifar10": {"widths": "128,256,256",     "blocks": "4,4,4",   "window": 4, "head_width": 32, "time_width": 512},
    "ffhq64":  {"widths": "128,256,256,256", "blocks": "4,4,4,4", "window": 8, "head_width": 32, "time_width": 512},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
CIFAR_10 = ditbench.DenoiserSpec(channels=3, resolution=32, classes=0, space="pixel")
FFHQ_64 = ditbench.DenoiserSpec(channels=3, resolution=64, classes=0, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True)
_PIXELS = {"nano": DIGITS, "nano/4": FASHION_32, "cifar10": CIFAR_10, "ffhq64": FFHQ_64}
SPECS = {size: _PIXELS.get(size, IMAGENET_256) for size in SIZES}

# both models, each with as many MACs as it says
LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 48, "heads": 2,
                    "widths": "12,24", "blocks": "1,1", "head_width": 12, "time_width": 96},
            0.25: {"depth": 3, "width": 56, "heads": 2,
                   "widths": "16,32", "blocks": "1,2", "head_width": 16, "time_width": 128},
            0.5: {"depth": 3, "width": 80, "heads": 4,
                  "widths": "20,40", "blocks": "1,3", "head_width": 20, "time_width": 160},
            2: {"depth": 5, "width": 120, "heads": 5,
                "widths": "36,72", "blocks": "2,3", "head_width": 18, "time_width": 288},
            4: {"depth": 7, "width": 144, "heads": 6,
                "widths": "48,96", "blocks": "2,4", "head_width": 16, "time_width": 384},
        },
        narrow={"width": 48, "heads": 2, "widths": "16,32", "head_width": 16, "time_width": 128},
        wide={"width": 144, "heads": 6, "widths": "48,96", "head_width": 16, "time_width": 384},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 52, "heads": 2,
                    "widths": "4,12,24", "blocks": "1,1,1", "head_width": 4, "time_width": 96},
            0.25: {"depth": 2, "width": 76, "heads": 2,
                   "widths": "8,16,32", "blocks": "1,1,1", "head_width": 8, "time_width": 128},
            0.5: {"depth": 2, "width": 108, "heads": 3,
                  "widths": "12,24,36", "blocks": "1,1,1", "head_width": 12, "time_width": 144},
            2: {"depth": 4, "width": 160, "heads": 5,
                "widths": "24,48,72", "blocks": "1,1,1", "head_width": 24, "time_width": 288},
            4: {"depth": 5, "width": 204, "heads": 6,
                "widths": "24,48,96", "blocks": "2,2,2", "head_width": 12, "time_width": 384},
        },
        narrow={"width": 64, "heads": 2, "widths": "8,16,32", "head_width": 8, "time_width": 128},
        wide={"width": 192, "heads": 6, "widths": "24,48,96", "head_width": 8, "time_width": 384},
    ),
}  # fmt: skip

OPTIONS = {
    "model": ditbench.Option(
        default=None, choices=("latent", "image"), doc="isotropic or U-shaped; by default as the space asks"
    ),
    "time": ditbench.Option(
        default="tmsa",
        choices=("tmsa", "bias", "mlp", "token"),
        doc="where time enters: q, k and v; the relative position bias; the MLP; a token of its own",
    ),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """EDM's Adam on pixels; on latents little is published: an optimiser like Adam, and its learning rate."""
    if space == "pixel":
        return ditbench.Native(
            source="arXiv:2312.02139, Appendix; optimiser as in EDM (arXiv:2206.00364), which it follows",
            recipe={
                "optimizer": "adamw",  # without weight decay: Adam
                "learning_rate": 1e-3 if resolution <= 32 else 2e-4,  # CIFAR-10, FFHQ
                "betas": (0.9, 0.999),
                "weight_decay": 0.0,
                "decay": "constant",  # after EDM's ramp, which the paper does not restate
                "clip_norm": None,
            },
            objectives={"edm": {"sigma_data": 0.5, "mean": -1.2, "std": 1.2}},
        )
    return ditbench.Native(
        source="arXiv:2312.02139, Appendix",
        recipe={"optimizer": "adamw", "learning_rate": 3e-4 if resolution <= 256 else 1e-4},
        objectives={"iddpm": {"schedule": "linear", "learn_variance": True}},
    )


ARCHITECTURE = ditbench.Architecture(
    name="diffit",
    build="ditbench_diffit.model:build",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_diffit.reference:convert_reference",
    native=native,
    paper="arXiv:2312.02139",
    licence="Apache-2.0",
    description="DiffiT: time-dependent self-attention; isotropic on latents, U-shaped on pixels",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
