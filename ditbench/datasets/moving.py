"""Clips that need no file: scikit-learn's digits, each of which moves in a straight line and bounces off the borders.

Scenes are made of whole numbers alone, sixteenths of a pixel, so that every machine makes the same bytes. Training and
held-out clips show other images: the digits that the data set `digits` trains on, and those that it holds out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import BadValue
from .bundled import digits, held_out_digits
from .examples import Data, Labels, Request, from_arrays
from .pixels import Bytes

FRAMES, SIZE, DIGIT = 8, 16, 8  # of a clip; pixels of its sides, and of a digit's
TRAINING, HELD_OUT = 4000, 500  # clips
UNIT = 16  # of places and speeds, in a pixel
_WAY = (SIZE - DIGIT) * UNIT  # how far a digit can move along an axis
_SLOWEST, _FASTEST = UNIT // 2, 2 * UNIT  # a frame, in units
_SEED = 0x5CE7E
_CLASSES = 10
Scenes = npt.NDArray[np.int64]


def load_moving_digits(request: Request) -> Data:
    """Training and held-out clips, (N, 8, 1, 16, 16). Raises `BadValue` for another resolution or other frames."""
    if (request.frames, request.resolution, request.interval) != (FRAMES, SIZE, 1):
        raise BadValue(
            f"moving-digits has clips of {FRAMES} frames of {SIZE} px, interval 1, not of {request.frames} frames of "
            f"{request.resolution} px, interval {request.interval}."
        )
    pixels, labels = digits()
    aside, draw = held_out_digits(), np.random.default_rng(_SEED)
    training = _clips(pixels[~aside], labels[~aside], TRAINING, draw)
    held_out = _clips(pixels[aside], labels[aside], HELD_OUT, draw)
    names = tuple(str(digit) for digit in range(_CLASSES))
    return from_arrays("moving-digits", *training, names, *held_out)


def _clips(pixels: Bytes, labels: Labels, count: int, draw: np.random.Generator) -> tuple[Bytes, Labels]:
    """Clips (count, 8, 1, 16, 16) of these digits, clip i of class i mod 10, and their classes."""
    of = np.arange(count) % _CLASSES
    shown = np.array([draw.choice(np.flatnonzero(labels == label)) for label in of])
    places = paths(draw.integers(0, _WAY, (count, 2), endpoint=True), draw.choice(speeds(), count))
    return _render(pixels[shown, 0], places)[:, :, None], of.astype(np.int64)


def speeds() -> Scenes:
    """All speeds (S, 2) down and right that a digit may have: half a pixel to two pixels a frame, in any direction."""
    each = np.arange(-_FASTEST, _FASTEST + 1)
    pairs = np.stack(np.meshgrid(each, each, indexing="ij"), axis=-1).reshape(-1, 2)
    squared = (pairs**2).sum(1)
    possible: Scenes = pairs[(squared >= _SLOWEST**2) & (squared <= _FASTEST**2)]
    return possible


def paths(begins: Scenes, speed: Scenes) -> Scenes:
    """Where digits are in each frame (N, 8, 2), from their first places (N, 2): straight lines, folded."""
    unfolded = begins[:, None] + np.arange(FRAMES)[None, :, None] * speed[:, None]
    there_and_back = unfolded % (2 * _WAY)
    places: Scenes = np.minimum(there_and_back, 2 * _WAY - there_and_back)
    return places


def _render(images: Bytes, places: Scenes) -> Bytes:
    """Frames (N, 8, 16, 16) that show images (N, 8, 8) at places, between pixels by bilinear weights."""
    frames = np.zeros((*places.shape[:2], SIZE + 1, SIZE + 1), np.int64)  # the last row and column stay empty
    corners, rest = np.divmod(places, UNIT)
    clip, frame = np.ogrid[: len(places), :FRAMES]
    side = np.arange(DIGIT)
    for down, right in np.ndindex(2, 2):
        part = np.where([down, right], rest, UNIT - rest).prod(-1)[..., None, None]  # of UNIT^2
        rows = corners[..., :1, None] + down + side[:, None]
        columns = corners[..., 1:, None] + right + side
        frames[clip[..., None, None], frame[..., None, None], rows, columns] += part * images[:, None]
    rounded = (frames[..., :SIZE, :SIZE] + UNIT**2 // 2) // UNIT**2
    return rounded.astype(np.uint8)
