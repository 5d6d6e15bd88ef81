"""What ditbench is told of this sampler. Nothing heavy is imported: listing what is installed needs no torch."""

from __future__ import annotations

from pathlib import Path

import ditbench

SAMPLER = ditbench.Sampler(
    name="my_plugin",
    sample="ditbench_my_plugin.sampler:sample",
    objectives=("flow",),  # whose denoisers it can drive
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
