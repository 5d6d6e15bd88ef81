"""The noise of seeds, drawn again and again: what a number of a study could have been with other seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import fmean

from ..leaderboard.intervals import MIN_SEEDS, RESAMPLES, percentiles, widening

_MOST_MISSING = 0.1  # of the resamples: a number that more of them lack has no interval


def log_means(errors: Sequence[float], cell: str) -> list[float]:
    """The log of the mean over seeds as it is, and then of as many seeds drawn from them, `RESAMPLES` times.

    The draws depend on the cell's name alone, so a study gives the same numbers again, whatever else is in it. The
    generator is Python's own, whose numbers stay over versions. With fewer than three seeds nothing is drawn.
    """
    count, middle = len(errors), math.log(fmean(errors))
    if count < MIN_SEEDS:
        return [middle]
    draw, away = random.Random(cell), widening(count)
    drawn = (math.log(fmean(errors[int(draw.random() * count)] for _ in errors)) for _ in range(RESAMPLES))
    return [middle, *(middle + away * (one - middle) for one in drawn)]


def interval(values: Sequence[float | None]) -> tuple[float, float] | None:
    """From the 2.5 % to the 97.5 % percentile; None if too many resamples lack the number, or there are none."""
    known = [value for value in values if value is not None]
    if not values or len(known) < (1 - _MOST_MISSING) * len(values):
        return None
    return percentiles(known)
