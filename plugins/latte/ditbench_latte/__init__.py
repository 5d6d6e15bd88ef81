"""Latte (Ma et al., 2024) for ditbench: DiT for clips, whose blocks attend in space and in time by turns."""

import ditbench

SIZES: dict[str, dict[str, int]] = {
    # for the track moving-digits
    "nano": {"depth": 6, "width": 80, "heads": 4, "patch_size": 4},
    # the paper's, which are DiT's; the number behind the slash is the patch size
    "S/2":  {"depth": 12, "width":  384, "heads":  6, "patch_size": 2},
    "B/2":  {"depth": 12, "width":  768, "heads": 12, "patch_size": 2},
    "L/2":  {"depth": 24, "width": 1024, "heads": 16, "patch_size": 2},
    "XL/2": {"depth": 28, "width": 1152, "heads": 16, "patch_size": 2},
}  # fmt: skip

MOVING_DIGITS = ditbench.DenoiserSpec(channels=1, resolution=16, classes=10, space="pixel", frames=8)
UCF_101 = ditbench.DenoiserSpec(  # latents of 16 frames of 256 pixels
    channels=4, resolution=32, classes=101, space="latent", learn_variance=True, frames=16
)
SPECS = {size: MOVING_DIGITS if size == "nano" else UCF_101 for size in SIZES}

# half of the blocks are in time, so depths are even
LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 48, "heads": 2},
            0.25: {"depth": 4, "width": 48, "heads": 2},
            0.5: {"depth": 6, "width": 56, "heads": 2},
            2: {"depth": 8, "width": 100, "heads": 4},
            4: {"depth": 10, "width": 128, "heads": 4},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
}

OPTIONS = {
    "variant": ditbench.Option(
        default=1,
        choices=(1, 2, 3, 4),
        doc="attention in space and in time: 1 in blocks by turns, as published; written from the paper's prose: "
        "2 in blocks, first all in space; 3 one after the other in each block; 4 in half of each block's heads",
    ),
    "checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass"),
}


def native(space: str, resolution: int, size: str) -> ditbench.Native:
    """One recipe for all, but for its clipping, which begins after 100K steps: no recipe here can say that."""
    return ditbench.Native(
        source="arXiv:2401.03048, published configuration",
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
    name="latte",
    build="ditbench_latte.model:Latte",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    convert_reference="ditbench_latte.reference:convert_reference",
    native=native,
    paper="arXiv:2401.03048",
    licence="Apache-2.0",
    description="Latte: DiT for clips, whose blocks attend within frames and across them by turns",
    clips=True,
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
