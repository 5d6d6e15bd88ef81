"""What ditbench is told of this metric. Nothing heavy is imported: listing what is installed needs no torch."""

from __future__ import annotations

from pathlib import Path

import ditbench

METRIC = ditbench.Metric(
    name="my_plugin",
    measure="ditbench_my_plugin.metric:measure",
    higher_is_better=True,
    sees="features",  # of the extractor that the track names; or logits, spatial, pixels
    against="images",  # what must be known of the real ones; or their moments, or nothing
    raw="counts",  # what its value follows from, so that it can be computed again; or terms, values
    description="coverage: share of real images with a sample among their nearest (Naeem et al., 2020)",
)


@ditbench.hookimpl
def ditbench_metrics() -> list[ditbench.Metric]:
    """All that this plugin brings."""
    return [METRIC]


@ditbench.hookimpl
def ditbench_tracks() -> list[Path]:
    """A track that measures it."""
    return [Path(__file__).with_name("my_plugin.toml")]
