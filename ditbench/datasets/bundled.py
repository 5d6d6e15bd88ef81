"""Data sets that need no file: scikit-learn's digits, and noise for rehearsals and timings."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.datasets

from ..denoiser_spec import Space
from ..errors import BadValue
from .examples import Data, Examples, Labels, Request, from_arrays
from .pixels import Bytes

MOST_ROWS, MOST_BYTES = 4096, 2**28  # of synthetic data: what is timed doesn't depend on how much there is
_DIGITS, _DIGITS_SIZE = 1797, 8
_SEVENTH = 7
_DRAW = 0x5EED


def digits() -> tuple[Bytes, Labels]:
    """scikit-learn's copy of the UCI handwritten digits in their own order, values 0..16 as bytes.

    Pixels (1797, 1, 8, 8), labels (1797,).
    """
    found = sklearn.datasets.load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8)[:, None], found.target.astype(np.int64)


def held_out_digits() -> npt.NDArray[np.bool_]:
    """Which of the digits are never trained on: every seventh. (1797,)."""
    aside: npt.NDArray[np.bool_] = np.arange(_DIGITS) % _SEVENTH == _SEVENTH - 1
    return aside


def load_digits(request: Request) -> Data:
    """The digits, every seventh of them held out. Raises `BadValue` for another resolution than 8."""
    if request.resolution != _DIGITS_SIZE:
        raise BadValue(f"digits has images of {_DIGITS_SIZE} px, not {request.resolution}.")
    pixels, labels = digits()
    aside = held_out_digits()
    names = tuple(str(digit) for digit in range(10))
    return from_arrays("digits", pixels[~aside], labels[~aside], names, pixels[aside], labels[aside])


def load_synthetic(request: Request) -> Data:
    """Fixed noise in the requested shape, within `MOST_ROWS` and `MOST_BYTES`: to rehearse and time, never for quality.

    Pixels are uniform bytes; a latent's mean is normal and its standard deviation 0.1. Labels go round the classes.
    Raises `BadValue` if the request leaves the channels or the classes open.
    """
    if request.channels is None or request.classes is None:
        raise BadValue("Synthetic data needs to know channels and classes: set both under [data] in the track.")
    shape, dtype = _row(request.space, request.channels, request.resolution, request.downsampling)
    views = 1 if request.space == "pixel" else 2  # a track may ask for mirrored latents
    fitting = max(1, MOST_BYTES // (math.prod(shape) * dtype.itemsize * views))
    count = min(request.images or MOST_ROWS, MOST_ROWS // views, fitting)
    rows = _noise((count * views, *shape), dtype)
    labels = np.arange(count) % max(1, request.classes)
    names = tuple(str(label) for label in range(request.classes))
    content = hashlib.sha256(repr((rows.shape, rows.dtype.str, names)).encode())
    content.update(rows.tobytes())
    return Data("synthetic", content.hexdigest(), Examples(rows, labels, views), names, images=None, synthetic=True)


def _row(space: Space, channels: int, resolution: int, cell: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind of one image (C, H, W), or of the moments (2, C, H / cell, W / cell) of one latent."""
    if space == "pixel":
        return (channels, resolution, resolution), np.dtype(np.uint8)
    if resolution % cell:
        raise BadValue(f"A latent's cell is {cell} px wide, which {resolution} px can't be divided into.")
    return (2, channels, resolution // cell, resolution // cell), np.dtype(np.float16)


def _noise(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    draw = np.random.default_rng(_DRAW)
    if dtype == np.uint8:
        return draw.integers(0, 256, shape, np.uint8)
    moments = draw.standard_normal(shape, np.float32)
    moments[:, 1] = 0.1
    return moments.astype(dtype)
