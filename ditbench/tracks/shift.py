"""A shift of time towards the noise (Esser et al., 2024, Equation 23), of training times or of a sampler's stops."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeVar

from pydantic import Field

BASE = 4096  # dimensions of data that need no shift (RAE)

# How a shift is given: its factor; and the dimensions of the data, channels x height x width, 0 if not by them.
Factor = Annotated[float, Field(ge=0.01, le=100)]
Dimension = Annotated[int, Field(ge=0, le=10**9)]

S = TypeVar("S")  # a number, an array, or a tensor


def factor_of(shift: float, dimension: int) -> float:
    """Of both shifts, one after the other; that by dimension has sqrt(dimension / 4096) (RAE, arXiv:2510.11690)."""
    return shift * math.sqrt(dimension / BASE) if dimension else shift


def shifted(s: S, factor: float) -> S:
    """Time s in [0, 1], where 1 is noise, after the shift; a factor of 1 costs nothing and changes no bit."""
    time: Any = s
    moved: S = time if factor == 1 else factor * time / (1 + (factor - 1) * time)
    return moved
