"""What ditbench is told of this track."""

from __future__ import annotations

from pathlib import Path

import ditbench


@ditbench.hookimpl
def ditbench_tracks() -> list[Path]:
    """All that this plugin brings."""
    return [Path(__file__).with_name("my_plugin.toml")]
