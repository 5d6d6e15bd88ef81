"""A GPU that has no room for a training step: told with the batch, and with the pass that the same run can go on in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import BadValue, brief, one_line
from ..tracks.track import Recipe

_LONGEST = 120  # characters of what CUDA says


@contextmanager
def told_of_room(recipe: Recipe, device: torch.device, processes: int) -> Iterator[None]:
    """CUDA's error becomes a `BadValue` that says what to do; `micro_batch` is in no hash, so that the run goes on."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        told = brief(one_line(error), _LONGEST)
        raise BadValue(f"{_no_room(recipe, device, processes)} ({told}).") from error


def _no_room(recipe: Recipe, device: torch.device, processes: int) -> str:
    share = math.ceil(recipe.batch_size / processes)
    images = min(recipe.micro_batch or share, share)
    smaller = [n for n in range(1, images // 2 + 1) if recipe.batch_size % n == 0]
    way = f"`micro_batch` {smaller[-1]}" if smaller else "`checkpointing`"
    return (
        f"Device {str(device)!r} has no room for {images} images in a pass, of a batch of {recipe.batch_size}; "
        f"with {way} the same command goes on from the last checkpoint"
    )
