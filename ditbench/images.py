"""Pixels: the one conversion between floats and bytes, the sample grid, and the ADM sample file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .storage import write_atomically

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


def write_grid(path: Path, pixels: Bytes, labels: Sequence[int], class_names: Sequence[str]) -> None:
    """Write a PNG with one row of samples per class, its name at the left.

    pixels: (N, C, H, W) uint8, C = 1 or 3; small images are enlarged by a whole factor, pixel by pixel.
    """
    rows = [np.flatnonzero(np.asarray(labels) == c) for c in range(len(class_names))]
    columns = max(1, min(10, *(len(row) for row in rows)))
    cell = pixels.shape[-1] * max(1, round(64 / pixels.shape[-1]))
    gap, margin = 4, 24 + 8 * max(len(name) for name in class_names)
    size = (margin + columns * (cell + gap), gap + len(rows) * (cell + gap))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=18)
    for r, row in enumerate(rows):
        top = gap + r * (cell + gap)
        draw.text((margin // 2, top + cell // 2), class_names[r], fill="black", font=font, anchor="mm")
        for c, index in enumerate(row[:columns]):
            tile = _picture(pixels[index]).resize((cell, cell), Image.Resampling.NEAREST)
            canvas.paste(tile, (margin + c * (cell + gap), top))
    write_atomically(path, lambda temporary: canvas.save(temporary, format="PNG"))


def _picture(pixels: Bytes) -> Image.Image:
    if pixels.shape[0] == 1:
        return Image.fromarray(pixels[0], mode="L")
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def write_samples(path: Path, pixels: Bytes, labels: npt.NDArray[np.int64]) -> None:
    """Write samples as ADM's evaluator reads them: ``arr_0`` uint8 NHWC, ``arr_1`` labels."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, pixels.transpose(0, 2, 3, 1), labels)

    write_atomically(path, write)
