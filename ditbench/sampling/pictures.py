"""Samples as people and other tools take them: a grid with a row of each class, and ADM's `.npz`.

Clips move in their grid: it is an animated PNG. Its still picture, which is no frame of the animation, has one clip of
each row, frame beside frame: programs that show no motion show that, and one file is enough for both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..datasets.pixels import Bytes
from ..errors import one_line
from ..records.validation.png import PACE
from ..storage.files import write_atomically

_CELL, _GAP, _WIDTH = 64, 4, 2048  # pixels of the grid: a small image's side, between images, at most
_ROWS, _COLUMNS = 10, 10
_CLIPS, _FRAMES, _BYTES = 8, 16, 2**23  # at most: clips in a row, frames of each, bytes of all before they are packed
Rows = Sequence[tuple[str, npt.NDArray[np.int64]]]  # name and samples of each


def write_grid(path: Path, pixels: Bytes, labels: npt.NDArray[np.int64], class_names: Sequence[str]) -> None:
    """Write a PNG with one row of samples per class, its name at the left; of many classes, some.

    pixels: (N, C, H, W) uint8, or (N, F, C, H, W) of clips, C = 1 or 3; what is small is enlarged by a whole factor,
    pixel by pixel, and clips larger than a cell are made smaller. Without classes the rows are the first samples.
    """
    if pixels.ndim == 5:
        _write_animation(path, pixels, labels, class_names)
        return
    cell = pixels.shape[-1] * max(1, round(_CELL / pixels.shape[-1]))
    columns = max(1, min(_COLUMNS, _WIDTH // cell))
    rows = _rows(labels, class_names, columns)
    columns = max(1, min(columns, *(len(row) for _, row in rows)))
    grid = _Grid([name for name, _ in rows], cell, columns, "RGB")
    canvas = grid.draw(pixels[row[:columns]] for _, row in rows)
    write_atomically(path, lambda temporary: canvas.save(temporary, format="PNG"))


def _write_animation(path: Path, pixels: Bytes, labels: npt.NDArray[np.int64], class_names: Sequence[str]) -> None:
    """All clips of the grid at once, again and again; of long clips, frames at equal distances."""
    _, frames, channels, _, side = pixels.shape
    cell = side * round(_CELL / side) if side <= _CELL else _CELL
    stride = math.ceil(frames / _FRAMES)
    of_a_clip = math.ceil(frames / stride) * channels * min(side, cell) ** 2  # bytes
    columns = max(1, min(_CLIPS, _BYTES // (_ROWS * of_a_clip)))
    rows = _rows(labels, class_names, columns)
    clips = [pixels[row[:columns], ::stride] for _, row in rows]
    grid = _Grid([name for name, _ in rows], cell, columns, "L" if channels == 1 else "RGB")
    moving = [grid.draw(row[:, frame] for row in clips) for frame in range(clips[0].shape[1])]
    still = grid.draw(row[0, :: math.ceil(row.shape[1] / columns)] for row in clips)

    def write(temporary: Path) -> None:
        timing = {"duration": 1000 // PACE, "loop": 0}  # milliseconds, and endlessly
        still.save(temporary, format="PNG", save_all=True, default_image=True, append_images=moving, **timing)

    write_atomically(path, write)


@dataclass(frozen=True)
class _Grid:
    """Rows of equal cells, with their names at the left where they have some."""

    names: Sequence[str]
    cell: int  # pixels of a side
    columns: int
    mode: str  # of Pillow

    def draw(self, rows: Iterable[Iterable[Bytes]]) -> Image.Image:
        """With these pictures (C, H, W) in its cells."""
        font, step = ImageFont.load_default(size=18), self.cell + _GAP
        margin = 24 + math.ceil(max(map(font.getlength, self.names))) if any(self.names) else _GAP
        canvas = Image.new(self.mode, (margin + self.columns * step, _GAP + len(self.names) * step), "white")
        draw = ImageDraw.Draw(canvas)
        for r, (name, row) in enumerate(zip(self.names, rows, strict=True)):
            top = _GAP + r * step
            draw.text((margin // 2, top + self.cell // 2), name, fill="black", font=font, anchor="mm")
            for c, one in enumerate(row):
                canvas.paste(self._tile(one), (margin + c * step, top))
        return canvas

    def _tile(self, pixels: Bytes) -> Image.Image:
        tile, small = _picture(pixels), pixels.shape[-1] <= self.cell
        return tile.resize((self.cell, self.cell), Image.Resampling.NEAREST if small else Image.Resampling.BOX)


def _rows(labels: npt.NDArray[np.int64], class_names: Sequence[str], columns: int) -> Rows:
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
