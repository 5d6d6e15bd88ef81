"""DiffiT (Hatamizadeh et al., 2024) for ditbench: time-dependent self-attention, in latents and in pixels."""

import ditbench

SIZES: dict[str, dict[str, int | str]] = {
    # latent model; XL/2 is the published one, the others take DiT's depths and widths
    "S/2":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 2},
    "B/2":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 2},
    "L/2":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2},
    "XL/2": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2},
    # image model; widths and blocks per resolution, the finest first
    "cifar10": {"widths": "128,256,256",     "blocks": "4,4,4",   "window": 4, "head_width": 32, "time_width": 512},
    "ffhq64":  {"widths": "128,256,256,256", "blocks": "4,4,4,4", "window": 8, "head_width": 32, "time_width": 512},
    # both models, each with as many MACs as dit:nano
    "nano": {
        "depth": 4, "width": 96, "heads": 4, "patch_size": 2,
        "widths": "32,64", "blocks": "1,2", "window": 4, "head_width": 16, "time_width": 256,
    },
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
CIFAR_10 = ditbench.DenoiserSpec(channels=3, resolution=32, classes=0, space="pixel")
FFHQ_64 = ditbench.DenoiserSpec(channels=3, resolution=64, classes=0, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True)
SPECS = {size: {"nano": DIGITS, "cifar10": CIFAR_10, "ffhq64": FFHQ_64}.get(size, IMAGENET_256) for size in SIZES}

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

ARCHITECTURE = ditbench.Architecture(
    name="diffit",
    build="ditbench_diffit.model:build",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    convert_reference="ditbench_diffit.reference:convert_reference",
    paper="arXiv:2312.02139",
    licence="Apache-2.0",
    description="DiffiT: time-dependent self-attention; isotropic on latents, U-shaped on pixels",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
