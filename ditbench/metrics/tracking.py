"""A check of moving digits that no embedding can fool: a tracker that looks at pixels alone.

A clip passes if each frame has one thing that is lit, always of about the same light, and if its centre moves as the
data's digits do: along each axis at one speed, straight between the places where the digit's edge meets the border.
What is still one thing, the same light and straight is set so that nearly all real clips pass: see the metric's floor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..datasets.moving import DIGIT, FRAMES, SIZE, UNIT, paths, speeds
from ..datasets.pixels import Bytes
from ..errors import BadValue
from ..records.metric_constants import TRACKED
from .features import Features
from .quality import Score

_SHAPE = (FRAMES, 1, SIZE, SIZE)
_CENTRE = (2.25, 4.75)  # pixels: where the centre of a digit's light is within its image, along either axis
_ROWS = 250  # clips at a time
Floats = npt.NDArray[np.float32]
Found = npt.NDArray[np.bool_]  # of each clip


def moves(fake: Features, real: Features) -> Score:
    """The share of clips (N, 8, 1, 16, 16) in which one digit moves in straight lines between bounces.

    `real` plays no part. Raises `BadValue` for clips of another shape than those of moving digits.
    """
    pixels = fake.pixels
    if pixels is None or pixels.shape[1:] != _SHAPE:
        raise BadValue(f"Metric 'moves' tracks clips of {_SHAPE}, as those of moving-digits are, and these are others.")
    parts = range(0, len(pixels), _ROWS)
    hits = sum(int(tracked(pixels[start : start + _ROWS]).sum()) for start in parts)
    return Score.of({"counts": [hits, len(pixels)]}, **TRACKED)


def tracked(clips: Bytes) -> Found:
    """In which of the clips one digit moves so."""
    frames = clips[:, :, 0]
    light = np.where(frames >= TRACKED["threshold"], frames, 0).astype(np.float32)
    mass = light.sum((2, 3))
    there = (mass > 0).all(1)
    mass = np.maximum(mass, 1)
    steady = mass.max(1) - mass.min(1) <= TRACKED["mass"] * mass.mean(1)
    one = (_largest(light) / mass).min(1) >= TRACKED["one"]
    side = np.arange(SIZE, dtype=np.float32)
    centres = np.stack([light.sum(3) @ side, light.sum(2) @ side], axis=1) / mass[:, None]
    found: Found = there & steady & one & _straight(centres)
    return found


def _largest(light: Floats) -> Floats:
    """The light (N, F) of the thing that the brightest pixel of a frame is part of; pixels that touch are one thing."""
    lit = light > 0
    reached = lit & (light == light.max((2, 3), keepdims=True))
    reached &= np.cumsum(reached.reshape(*reached.shape[:2], -1), axis=2).reshape(reached.shape) == 1  # one of them
    while True:
        padded = np.pad(reached, [(0, 0), (0, 0), (1, 1), (1, 1)])
        rows = padded[:, :, :-2] | padded[:, :, 1:-1] | padded[:, :, 2:]
        wider = (rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]) & lit
        if (wider == reached).all():
            found: Floats = np.where(reached, light, 0).sum((2, 3))
            return found
        reached = wider


def _straight(centres: Floats) -> Found:
    """Whether centres (N, 2, F) follow folded paths of one speed, not too slow and not too fast."""
    of_axis, speed = _paths_of_an_axis()
    means = of_axis.mean(1)
    shapes = of_axis - means[:, None]
    rows = centres.reshape(-1, FRAMES)
    middle = rows.mean(1)
    bent = rows - middle[:, None]
    apart = (bent**2).sum(1)[:, None] + (shapes**2).sum(1) - 2 * bent @ shapes.T
    place = middle[:, None] - means
    apart += FRAMES * (place - place.clip(*_CENTRE)) ** 2
    best = apart.argmin(1)
    offset = (middle - means[best]).clip(*_CENTRE)
    astray = np.abs(rows - of_axis[best] - offset[:, None]).max(1).reshape(-1, 2)
    pace = np.hypot(*speed[best].reshape(-1, 2).T)
    slowest, fastest = _pace()
    near = TRACKED["pixels"] / (FRAMES - 1) * 2  # what so much astray at both ends makes of a speed
    found: Found = (astray <= TRACKED["pixels"]).all(1) & (pace >= slowest - near) & (pace <= fastest + near)
    return found


def _pace() -> tuple[float, float]:
    """The slowest and the fastest real speed, in pixels a frame."""
    all_of_them = np.hypot(*(speeds() / UNIT).T)
    return float(all_of_them.min()), float(all_of_them.max())


def _paths_of_an_axis() -> tuple[Floats, Floats]:
    """All paths (P, F) of a digit's edge along an axis, in pixels, and their speeds (P,)."""
    begins = np.arange(0, (SIZE - DIGIT) * UNIT + 1, 2)
    ways = np.unique(speeds()[:, 0])
    every = np.stack(np.meshgrid(begins, ways, indexing="ij"), -1).reshape(-1, 2)
    found = paths(every[:, :1].repeat(2, 1), every[:, 1:].repeat(2, 1))[..., 0]
    return (found / UNIT).astype(np.float32), (every[:, 1] / UNIT).astype(np.float32)
