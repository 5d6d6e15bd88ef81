"""JiT (Li & He, 2025) for ditbench: a plain transformer on large patches of pixels, made to predict the image."""

import ditbench

_NANO = {"context": 4, "context_start": 2, "bottleneck": 16}
_S = {"depth": 12, "width": 384, "heads": 6, "context_start": 4}
_B = {"depth": 12, "width": 768, "heads": 12, "context_start": 4}
_L = {"depth": 24, "width": 1024, "heads": 16, "context_start": 8}
_H = {"depth": 32, "width": 1280, "heads": 16, "context_start": 10, "bottleneck": 256, "dropout": 0.2}

SIZES: dict[str, dict[str, int | float]] = {
    # for the tracks digits and fashion32: as many MACs as dit's
    "nano":   {"depth": 5, "width": 80, "heads": 4, "patch_size": 2, **_NANO},
    "nano/4": {"depth": 5, "width": 96, "heads": 4, "patch_size": 4, **_NANO},
    # the published ones; the number behind the slash is the patch size: always 256 tokens
    "B/16": {**_B, "patch_size": 16},
    "B/32": {**_B, "patch_size": 32},
    "L/16": {**_L, "patch_size": 16},
    "L/32": {**_L, "patch_size": 32},
    "H/16": {**_H, "patch_size": 16},
    "H/32": {**_H, "patch_size": 32},
    # for the tracks cifar10 and imagenet64: 256 tokens, too. S is not of the paper
    "S/2": {**_S, "patch_size": 2},
    "S/4": {**_S, "patch_size": 4},
    "B/2": {**_B, "patch_size": 2},
    "B/4": {**_B, "patch_size": 4},
    "L/2": {**_L, "patch_size": 2},
    "L/4": {**_L, "patch_size": 4},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
CIFAR_10 = ditbench.DenoiserSpec(channels=3, resolution=32, classes=10, space="pixel")
_BY_PATCH = {
    patch: ditbench.DenoiserSpec(channels=3, resolution=16 * patch, classes=1000, space="pixel")
    for patch in (4, 16, 32)
}
SPECS = {
    size: {"nano": DIGITS, "nano/4": FASHION_32}.get(size) or _BY_PATCH.get(int(size.partition("/")[2]), CIFAR_10)
    for size in SIZES
}

# the bottleneck grows with the width, and two of five blocks miss the context tokens
LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "width":  36, "heads": 3, "context_start": 1, "bottleneck":  8},
            0.25:  {"depth": 3, "width":  48, "heads": 3, "context_start": 1, "bottleneck": 10},
            0.5:   {"depth": 4, "width":  64, "heads": 4, "context_start": 2, "bottleneck": 12},
            2:     {"depth": 7, "width":  96, "heads": 6, "context_start": 3, "bottleneck": 20},
            4:     {"depth": 8, "width": 128, "heads": 8, "context_start": 3, "bottleneck": 26},
        },
        narrow={"width": 40, "heads": 2, "bottleneck": 8},
        wide={"width": 120, "heads": 6, "bottleneck": 24},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"depth": 3, "width":  40, "heads": 2, "context_start": 1, "bottleneck":  6},
            0.25:  {"depth": 3, "width":  60, "heads": 3, "context_start": 1, "bottleneck": 10},
            0.5:   {"depth": 4, "width":  72, "heads": 3, "context_start": 2, "bottleneck": 12},
            2:     {"depth": 6, "width": 128, "heads": 4, "context_start": 2, "bottleneck": 22},
            4:     {"depth": 7, "width": 168, "heads": 7, "context_start": 3, "bottleneck": 28},
        },
        narrow={"width": 48, "heads": 2, "bottleneck": 8},
        wide={"width": 144, "heads": 6, "bottleneck": 24},
    ),
}  # fmt: skip

OPTIONS = {
    "bottleneck": ditbench.Option(default=128, doc="channels between the two linear maps from a patch to a token"),
    "context": ditbench.Option(default=32, doc="tokens of the label that join the patches; 0: none"),
    "context_start": ditbench.Option(default=4, doc="how many blocks they miss"),
    "dropout": ditbench.Option(default=0.0, doc="share dropped in the middle half of the blocks, in training"),
    "time": ditbench.Option(
        default="thousand",
        choices=("thousand", "unit"),
        doc="what the sinusoids see: t in [0, 1000], or 1 - t / 1000, for published weights",
    ),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """One recipe for all; the rate and the five epochs of warm-up are those of batches of 1024 on ImageNet."""
    return ditbench.Native(
        source="arXiv:2511.13720, published configuration",
        recipe={
            "optimizer": "adamw",
            "learning_rate": 2e-4,
            "betas": (0.9, 0.95),
            "weight_decay": 0.0,
            "warmup_steps": 6256,
            "decay": "constant",
            "clip_norm": None,
        },
        objectives={
            "x-pred": {"p_mean": -0.8, "p_std": 0.8, "t_eps": 0.05, "noise_scale": 2.0 if resolution >= 512 else 1.0}
        },
    )


ARCHITECTURE = ditbench.Architecture(
    name="jit",
    build="ditbench_jit.model:JiT",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_jit.reference:convert_reference",
    native=native,
    paper="arXiv:2511.13720",
    licence="Apache-2.0",
    description="JiT: large patches of pixels through a bottleneck, the label as tokens among them",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
