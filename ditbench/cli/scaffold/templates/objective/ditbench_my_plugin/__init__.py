"""What ditbench is told of this objective. Nothing heavy is imported: listing what is installed needs no torch."""

from __future__ import annotations

from pathlib import Path

import ditbench

OBJECTIVE = ditbench.Objective(
    name="my_plugin",
    make="ditbench_my_plugin.objective:Trigonometric",
    settings={"time": "uniform"},  # what a track may change
    description="x_t on the arc from image to noise, its velocity regressed",
)


def times(steps: int) -> list[float]:
    """When the sampler asks the denoiser, once for each evaluation: `ditbench records validate` counts them by it."""
    return [1000 * (1 - step / steps) for step in range(steps)]


SAMPLER = ditbench.Sampler(
    name="my_plugin",
    sample="ditbench_my_plugin.objective:sample",
    objectives=("my_plugin",),
    times=times,
    description="exact rotations along the arc, one evaluation a step",
)


@ditbench.hookimpl
def ditbench_objectives() -> list[ditbench.Objective]:
    """All that this plugin brings."""
    return [OBJECTIVE]


@ditbench.hookimpl
def ditbench_samplers() -> list[ditbench.Sampler]:
    """A sampler names the objectives that it can drive, so a new objective brings its own."""
    return [SAMPLER]


@ditbench.hookimpl
def ditbench_tracks() -> list[Path]:
    """A track that trains with it."""
    return [Path(__file__).with_name("my_plugin.toml")]
