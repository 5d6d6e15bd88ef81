"""The images: an example to put yours in the place of."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_sample_images

from ditbench import BadValue, Data, Request, from_arrays

SIDE = 32
CLASSES = ("temple", "flower")  # scikit-learn's two photographs, in its order


def load(request: Request) -> Data:
    """The tiles, every seventh of them held out. Raises `BadValue` for another resolution than 32.

    `request.place` is what `--data` said, `request.report(done, of)` moves the bar of a long preparation.
    """
    if request.resolution != SIDE:
        raise BadValue(f"my_plugin has images of {SIDE} px, not {request.resolution}.")
    tiles = [_tiles(photo) for photo in load_sample_images().images]
    pixels = np.concatenate(tiles)  # (N, 3, 32, 32) uint8
    labels = np.repeat(np.arange(len(CLASSES)), [len(of_class) for of_class in tiles])
    aside = np.arange(len(labels)) % 7 == 6
    return from_arrays("my_plugin", pixels[~aside], labels[~aside], CLASSES, pixels[aside], labels[aside])


def _tiles(photo: np.ndarray) -> np.ndarray:
    """A photograph (H, W, 3) cut into squares, (N, 3, 32, 32); what is left at the edges is left out."""
    rows, columns = photo.shape[0] // SIDE, photo.shape[1] // SIDE
    whole = photo[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
    return whole.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE)
