"""What ditbench is told of this architecture. Nothing heavy is imported: listing what is installed needs no torch."""

from __future__ import annotations

import ditbench

SIZES: dict[str, dict[str, ditbench.Value]] = {
    # about as many multiply-accumulates as DiT's sizes of these names; `ditbench sizes my_plugin` counts them
    "nano": {"patch": 2, "width": 92, "depth": 4, "heads": 4},
    "nano/4": {"patch": 4, "width": 108, "depth": 4, "heads": 4},
    "S/2": {"patch": 2, "width": 384, "depth": 12, "heads": 6},
}

SPECS = {  # what each size is made for
    "nano": ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel"),
    "nano/4": ditbench.DenoiserSpec(channels=1, resolution=32, classes=10, space="pixel"),
    "S/2": ditbench.DenoiserSpec(channels=4, resolution=32, classes=1000, space="latent", learn_variance=True),
}

ARCHITECTURE = ditbench.Architecture(
    name="my_plugin",
    build="ditbench_my_plugin.model:Denoiser",  # imported when it is first built
    sizes=SIZES,
    specs=SPECS,
    options={"skip": ditbench.Option(default=True, doc="add the embedded patches to the last block's tokens")},
    paper="",  # e.g. arXiv:2212.09748
    licence="",
    description="time and label as two more tokens of a plain transformer",
)


@ditbench.hookimpl
def ditbench_architectures() -> list[ditbench.Architecture]:
    """All that this plugin brings."""
    return [ARCHITECTURE]
