"""Noise that samplers draw on the way: from one stream per image, so that an image does not depend on its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def of_streams(streams: list[torch.Generator], like: Tensor) -> Tensor:
    """Standard normal noise of the shape and type of `like`, on the CPU; image i's is from stream i."""
    return torch.stack([torch.randn(like.shape[1:], generator=stream, dtype=like.dtype) for stream in streams])


def drawn_ahead(draw: Callable[[], Tensor], device: torch.device, times: int) -> Iterator[Tensor]:
    """What `draw` draws on the CPU, so many times, on the device.

    A thread draws the next one, for CUDA into pinned memory, while the device works on this one.
    """

    def drawn() -> Tensor:
        noise = draw()
        return noise.pin_memory() if device.type == "cuda" else noise

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(drawn)
        for left in reversed(range(times)):
            noise = following.result()
            if left:
                following = thread.submit(drawn)
            yield noise.to(device, non_blocking=True)
