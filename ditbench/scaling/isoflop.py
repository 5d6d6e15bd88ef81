"""Numbers alone: the bottom of a parabola in log size, and lines in logarithms, which are power laws.

Sizes, errors and compute are above 0, and natural logarithms everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

Missing = Literal["few", "first", "last", "flat"]  # why a budget has no minimum: see `bottom_of`
FEWEST = 3  # sizes that a parabola needs, and budgets with a minimum that a law and its test need
_BESIDE = 2  # sizes on either side of the best that the parabola goes through, at most


@dataclass(frozen=True)
class Bottom:
    """Where a parabola through log errors over log sizes is lowest."""

    log_size: float
    log_error: float


@dataclass(frozen=True)
class Line:
    """A straight line between logarithms: y = exp(height) * x ** slope."""

    slope: float
    height: float

    def at(self, log_x: float) -> float:
        """The logarithm of y."""
        return self.height + self.slope * log_x

    @property
    def zero(self) -> float | None:
        """The log x at which log y is 0; None if it never is."""
        return -self.height / self.slope if self.slope else None


def bottom_of(log_sizes: Sequence[float], log_errors: Sequence[float]) -> Bottom | Missing:
    """The minimum over the sizes, ascending, of one budget; or why there is none.

    few: less than three sizes. first, last: the best of them is at that end, or the parabola's bottom lies beyond it,
    so that the minimum may be anywhere out there. flat: the parabola has no bottom. It goes through the best size and
    at most two on either side: far from the minimum the errors follow no parabola.
    """
    if len(log_sizes) < FEWEST:
        return "few"
    best = int(np.argmin(log_errors))
    if best in (0, len(log_sizes) - 1):
        return "last" if best else "first"
    near = slice(max(0, best - _BESIDE), best + _BESIDE + 1)
    middle = log_sizes[best]
    x = tuple(size - middle for size in log_sizes[near])
    curvature, slope, height = _parabola(x) @ np.array(log_errors[near])
    if curvature <= 0:
        return "flat"
    lowest = -slope / (2 * curvature)
    if not x[0] <= lowest <= x[-1]:
        return "first" if lowest < 0 else "last"
    return Bottom(float(middle + lowest), float(height - slope**2 / (4 * curvature)))


@lru_cache
def _parabola(x: tuple[float, ...]) -> Any:
    """What makes the coefficients of a parabola of least squares, the square's first, from its values there."""
    return np.linalg.pinv(np.vander(x, 3))


def line_through(log_x: Sequence[float], log_y: Sequence[float]) -> Line:
    """The line of least squares through two points or more."""
    x, y = np.array(log_x), np.array(log_y)
    from_mean = x - x.mean()
    slope = float(from_mean @ (y - y.mean()) / (from_mean @ from_mean))
    return Line(slope, float(y.mean()) - slope * float(x.mean()))
