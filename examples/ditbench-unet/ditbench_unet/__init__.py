"""The U-Net of DDPM (Ho et al., 2020) and ADM (Dhariwal & Nichol, 2021), from diffusers, for ditbench."""

from __future__ import annotations

import ditbench

SIZES: dict[str, dict[str, str | int]] = {
    # as many multiply-accumulates as DiT's sizes of these names have; "2" and "4" are DiT's patches, no part of a U-Net
    "nano": {"channels": "16,52", "blocks": 1, "groups": 4},
    "nano/4": {"channels": "8,16,56", "blocks": 1, "groups": 4},
    "S/2": {"channels": "128,224,384", "blocks": 2, "groups": 32},
}

SPECS = {
    "nano": ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel"),
    "nano/4": ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel"),
    "S/2": ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True),
}

LADDER = {
    "nano": ditbench.Ladder(
        rungs={
            0.125: {"channels": "6,18", "groups": 2},
            0.25: {"channels": "8,26", "groups": 2},
            0.5: {"channels": "12,36"},
            2: {"channels": "24,72"},
            4: {"channels": "28,88", "blocks": 2},
        },
        narrow={"channels": "8,24"},
        wide={"channels": "24,72"},
    ),
    "nano/4": ditbench.Ladder(
        rungs={
            0.125: {"channels": "4,6,18", "groups": 2},
            0.25: {"channels": "4,8,28"},
            0.5: {"channels": "6,12,38", "groups": 2},
            2: {"channels": "12,24,76"},
            4: {"channels": "12,28,96", "blocks": 2},
        },
        narrow={"channels": "4,8,28"},
        wide={"channels": "12,24,84"},
    ),
}


ARCHITECTURE = ditbench.Architecture(
    name="unet",
    build="ditbench_unet.model:UNet",
    sizes=SIZES,
    specs=SPECS,
    ladder=LADDER,
    paper="arXiv:2006.11239, arXiv:2105.05233",
    licence="Apache-2.0",
    description="U-Net: residual convolutions at falling and rising resolution, with skips; diffusers' UNet2DModel",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    return [ARCHITECTURE]
