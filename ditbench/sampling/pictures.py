"""Samples as people and other tools take them: a grid with a row of each class, and ADM's `.npz`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..datasets.pixels import Bytes
from ..errors import one_line
from ..storage.files import write_atomically

_CELL, _GAP, _WIDTH = 64, 4, 2048  # pixels of the grid: a small image's side, between images, at most
_ROWS, _COLUMNS = 10, 10


def write_grid(path: Path, pixels: Bytes, labels: npt.NDArray[np.int64], class_names: Sequence[str]) -> None:
    """Write a PNG with one row of samples per class, its name at the left; of many classes, some.

    pixels: (N, C, H, W) uint8, C = 1 or 3; small images are enlarged by a whole factor, pixel by pixel. Without
    classes the rows are the first samples.
    """
    cell = pixels.shape[-1] * max(1, round(_CELL / pixels.shape[-1]))
    columns = max(1, min(_COLUMNS, _WIDTH // cell))
    rows = _rows(labels, class_names, columns)
    columns = max(1, min(columns, *(len(row) for _, row in rows)))
    font = ImageFont.load_default(size=18)
    margin = 24 + math.ceil(max(font.getlength(name) for name, _ in rows)) if class_names else _GAP
    size = (margin + columns * (cell + _GAP), _GAP + len(rows) * (cell + _GAP))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for r, (name, row) in enumerate(rows):
        top = _GAP + r * (cell + _GAP)
        draw.text((margin // 2, top + cell // 2), name, fill="black", font=font, anchor="mm")
        for c, index in enumerate(row[:columns]):
            tile = _picture(pixels[index]).resize((cell, cell), Image.Resampling.NEAREST)
            canvas.paste(tile, (margin + c * (cell + _GAP), top))
    write_atomically(path, lambda temporary: canvas.save(temporary, format="PNG"))


def _rows(
    labels: npt.NDArray[np.int64], class_names: Sequence[str], columns: int
) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """Name and samples of each row; of more classes than rows, equally spaced ones among those that have samples."""
    if not class_names:
        shown = np.arange(min(len(labels), _ROWS * columns))
        return [("", row) for row in np.array_split(shown, range(columns, len(shown), columns))]
    present = np.unique(labels)
    some = present[np.linspace(0, len(present) - 1, min(_ROWS, len(present))).round().astype(int)]
    return [(one_line(class_names[c]), np.flatnonzero(labels == c)) for c in some.tolist()]


def _picture(pixels: Bytes) -> Image.Image:
    content = np.ascontiguousarray(pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0))
    return Image.fromarray(content)


def write_samples(path: Path, pixels: Bytes, labels: npt.NDArray[np.int64]) -> None:
    """Write samples as ADM's evaluator reads them: ``arr_0`` uint8 NHWC, of clips NFHWC, ``arr_1`` labels."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, np.moveaxis(pixels, -3, -1), labels)

    write_atomically(path, write)
