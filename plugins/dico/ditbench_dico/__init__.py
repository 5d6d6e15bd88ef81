"""DiCo (Ai et al., 2025) for ditbench: a U of convolutions and channel attention, modulated by time and label."""

import ditbench

SIZES: dict[str, dict[str, int | float | str]] = {
    # for the tracks digits and fashion32, each with as many MACs as dit's of that name
    "nano":   {"width": 28, "depths": "2,2,1,2,2", "mlp_ratio": 2.0},
    "nano/4": {"width": 16, "depths": "2,2,3,2,2", "mlp_ratio": 2.0},
    # the published models
    "S":  {"width": 128, "depths": "5,4,4,4,4",      "mlp_ratio": 2.0},
    "B":  {"width": 256, "depths": "5,4,4,4,4",      "mlp_ratio": 2.0},
    "L":  {"width": 352, "depths": "9,8,9,8,9",      "mlp_ratio": 2.0},
    "XL": {"width": 416, "depths": "9,9,10,9,9",     "mlp_ratio": 2.0},
    "H":  {"width": 416, "depths": "14,12,10,12,14", "mlp_ratio": 4.0},
}  # fmt: skip

DIGITS = ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
FASHION_32 = ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel")
IMAGENET_256 = ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True)
SPECS = {size: {"nano": DIGITS, "nano/4": FASHION_32}.get(size, IMAGENET_256) for size in SIZES}

# a width is even, and no stage has less than one block
LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"width": 12, "depths": "1,1,1,1,1"},
            0.25:  {"width": 16, "depths": "1,1,1,1,1"},
            0.5:   {"width": 22, "depths": "1,2,1,2,1"},
            2:     {"width": 36, "depths": "3,2,1,2,3"},
            4:     {"width": 48, "depths": "3,3,2,3,3"},
        },
        narrow={"width": 14},
        wide={"width": 42},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"width":  6, "depths": "1,1,1,1,2"},
            0.25:  {"width": 10, "depths": "1,1,1,1,1"},
            0.5:   {"width": 12, "depths": "2,1,2,1,2"},
            2:     {"width": 20, "depths": "3,3,4,3,3"},
            4:     {"width": 28, "depths": "3,3,5,3,3"},
        },
        narrow={"width": 8},
        wide={"width": 24},
    ),
}  # fmt: skip

OPTIONS = {
    "channel_attention": ditbench.Option(default=True, doc="gate every channel by the means of all"),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """DiT's recipe, at whose steps the paper compares: no warm-up, no decay of the learning rate, no weight decay."""
    return ditbench.Native(
        source="DiT's recipe (arXiv:2212.09748), with which arXiv:2505.11196 compares",
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
    name="dico",
    build="ditbench_dico.model:DiCo",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_dico.reference:convert_reference",
    native=native,
    paper="arXiv:2505.11196",
    licence="Apache-2.0",
    description="DiCo: depthwise convolutions and channel attention in a U of three resolutions; no attention",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
