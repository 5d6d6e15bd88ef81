"""A GPU that has no room: told with the batch, and with the way on, which is another for training and for sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..errors import BadValue, brief, one_line
from ..tracks.recipe import Recipe

_LONGEST = 120  # characters of what CUDA says


@contextmanager
def told_of_room(recipe: Recipe, device: torch.device, processes: int) -> Iterator[None]:
    """CUDA's error becomes a `BadValue` that says what to do; `micro_batch` is in no hash, so that the run goes on."""
    with _told(lambda: _no_room(recipe, device, processes)):
        yield


@contextmanager
def told_of_room_to_sample(images: int, device: torch.device, training: bool) -> Iterator[None]:
    """The same of so many images that are sampled at once, which no `micro_batch` makes fewer.

    training: what training keeps on the device is there, too.
    """
    less = "without `eval_at` the same command goes on from the last checkpoint, and samples when training is over; "
    way = f"{less if training else ''}a track of your own with a smaller batch_size in [sampler] needs less"
    with _told(lambda: f"Device {str(device)!r} has no room to sample {images} images at once; {way}"):
        yield


@contextmanager
def _told(what: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BadValue(f"{what()} ({brief(one_line(error), _LONGEST)}).") from error


def _no_room(recipe: Recipe, device: torch.device, processes: int) -> str:
    share = math.ceil(recipe.batch_size / processes)
    images = min(recipe.micro_batch or share, share)
    smaller = [n for n in range(1, images // 2 + 1) if recipe.batch_size % n == 0]
    way = f"`micro_batch` {smaller[-1]}" if smaller else "`checkpointing`"
    return (
        f"Device {str(device)!r} has no room for {images} images in a pass, of a batch of {recipe.batch_size}; "
        f"with {way} the same command goes on from the last checkpoint"
    )
