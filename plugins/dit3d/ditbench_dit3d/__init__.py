"""DiT for clips (after Peebles & Xie, 2023) for ditbench: attention among all tokens of all frames."""

import ditbench

SIZES: dict[str, dict[str, int]] = {
    # for the track moving-digits
    "nano": {"depth": 5, "width": 80, "heads": 4, "patch_size": 4},
    # DiT's; the number behind the slash is the patch size
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

LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"depth": 2, "width": 40, "heads": 2},
            0.25: {"depth": 3, "width": 48, "heads": 2},
            0.5: {"depth": 3, "width": 72, "heads": 3},
            2: {"depth": 7, "width": 96, "heads": 4},
            4: {"depth": 8, "width": 132, "heads": 6},
        },
        narrow={"width": 48, "heads": 2},
        wide={"width": 144, "heads": 6},
    ),
}

OPTIONS = {"checkpointing": ditbench.Option(default=False, doc="recompute activations in the backward pass")}

ARCHITECTURE = ditbench.Architecture(
    name="dit3d",
    build="ditbench_dit3d.model:DiT3D",
    sizes=SIZES,
    specs=SPECS,
    options=OPTIONS,
    ladder=LADDER,
    paper="arXiv:2212.09748",
    licence="Apache-2.0",
    description="DiT for clips: attention among all tokens of all frames, positions in time and space",
    clips=True,
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
