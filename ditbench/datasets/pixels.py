"""Pixels: the one conversion between floats and bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]


def to_bytes(x: Tensor) -> Tensor:
    """Pixels in [-1, 1] to uint8: 127.5 * (x + 1), rounded to the nearest, then clamped to 0..255.

    Papers differ here (truncation, +0.5, 128 * x + 127.5) and FID notices; ditbench has this one formula.
    """
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_bytes(pixels: Tensor) -> Tensor:
    """uint8 pixels to float32 in [-1, 1]; `to_bytes` gives the same bytes back."""
    return pixels.float() / 127.5 - 1


def as_rgb(pixels: Tensor) -> Tensor:
    """Images (N, 1 or 3, H, W) with three channels: grey ones three times over."""
    return pixels.expand(-1, 3, -1, -1)
