"""What ditbench is told of this data set. Nothing heavy is imported: listing what is installed needs no torch."""

from __future__ import annotations

from pathlib import Path

import ditbench

DATASET = ditbench.Dataset(
    name="my_plugin",
    load="ditbench_my_plugin.data:load",
    place="none",  # or "required", if `--data` is to say where the files are
    description="520 tiles of two photographs, 32x32, 2 classes; ships with scikit-learn",
)


@ditbench.hookimpl
def ditbench_datasets() -> list[ditbench.Dataset]:
    """All images that this plugin brings."""
    return [DATASET]


@ditbench.hookimpl
def ditbench_tracks() -> list[Path]:
    """A track that trains on them."""
    return [Path(__file__).with_name("my_plugin.toml")]
