"""What ditbench is told of this sampler. Nothing heavy is imported: listing what is installed needs no torch."""

from __future__ import annotations

from pathlib import Path

import ditbench


def times(steps: int) -> list[float]:
    """When the denoiser is asked, once for each evaluation: `ditbench records validate` counts them by it."""
    return [1000 * (1 - half / (2 * steps)) for half in range(2 * steps)]


SAMPLER = ditbench.Sampler(
    name="my_plugin",
    sample="ditbench_my_plugin.sampler:sample",
    objectives=("flow",),  # whose denoisers it can drive
    times=times,
    description="the midpoint method along the flow, two evaluations a step",
)


@ditbench.hookimpl
def ditbench_samplers() -> list[ditbench.Sampler]:
    """All that this plugin brings."""
    return [SAMPLER]


@ditbench.hookimpl
def ditbench_tracks() -> list[Path]:
    """A track that samples with it."""
    return [Path(__file__).with_name("my_plugin.toml")]
