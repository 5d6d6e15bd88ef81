"""The state of a run in training, saved whole or not at all and loaded without unpickling code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .errors import BadFile
from .storage import write_atomically

FILE_NAME = "checkpoint.pt"
PARTIAL = "*.partial.*"  # what `samples.py` writes while a run is sampled and measured
LAYOUT = 2  # of the state; 2: the seconds of the parts of training


def save(path: Path, run_hash: str, state: dict[str, Any]) -> None:
    """Save tensors, numbers and strings atomically, marked with the run they belong to."""
    content = {"run": run_hash, "layout": LAYOUT, **state}
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load(path: Path, run_hash: str) -> dict[str, Any] | None:
    """The saved state, on the CPU, or None if there is none. A damaged or foreign file is a `BadFile`."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn file can fail anywhere inside the unpickler
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadFile(
            f"The checkpoint {str(path)!r} can't be read ({reason}). Start the run over with --force."
        ) from None
    if not isinstance(content, dict) or content.pop("run", None) != run_hash:
        raise BadFile(f"The checkpoint {str(path)!r} belongs to another run. Start over with --force.")
    if content.pop("layout", None) != LAYOUT:
        raise BadFile(f"The checkpoint {str(path)!r} is of another version of ditbench. Start over with --force.")
    return content


def discard(directory: Path) -> None:
    """Remove what a finished run needs no more, checkpoint and samples: record and EMA weights are what stays."""
    for path in (directory / FILE_NAME, *directory.glob(PARTIAL)):
        path.unlink(missing_ok=True)
