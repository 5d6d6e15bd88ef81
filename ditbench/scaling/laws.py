"""How error and best size scale with compute, and where one architecture overtakes another: from the runs alone.

At a budget of C FLOPs a network of N training MACs per image sees C / 2N images, so one size is best. That size N*(C)
and its error L*(C) follow power laws over some range. Laws are fitted to all budgets but the largest that has a
minimum, and tested there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from ..storage.schema import Count, Frozen, Number, Words
from .isoflop import FEWEST, Bottom, Line, Missing, bottom_of, line_through
from .points import EPOCHS, Above0, Point
from .resampling import interval, log_means

Interval = tuple[Above0, Above0]  # from 2.5 % to 97.5 % of what other seeds could have given


class Optimum(Frozen):
    """What one budget says of the best size: where the parabola is lowest, or why there is no minimum."""

    budget: Above0
    best: Words  # the size that was measured best
    best_error: Above0  # its mean over seeds
    missing: Missing | None = None
    size: Above0 | None = None  # training MACs of an image
    size_interval: Interval | None = None
    error: Above0 | None = None
    error_interval: Interval | None = None


class Law(Frozen):
    """y = factor * C ** exponent."""

    exponent: Number
    interval: tuple[Number, Number] | None
    factor: Above0


class Test(Frozen):
    """What the laws foretell at a budget that they were not fitted to; what was found there is its `Optimum`."""

    budget: Above0
    size: Above0
    size_interval: Interval | None
    error: Above0
    error_interval: Interval | None


class Laws(Frozen):
    """An architecture's, and their test."""

    size: Law
    error: Law
    test: Test


class Scaling(Frozen):
    """What the runs of one architecture say."""

    architecture: Words
    optima: list[Optimum]  # by budget
    laws: Laws | None  # None: fewer than three budgets have a minimum


class Ahead(Frozen):
    """The best error of one architecture as a share of another's, at a budget where both have a minimum."""

    budget: Above0
    ratio: Above0
    interval: Interval | None


class Crossing(Frozen):
    """Where the best errors of two architectures are equal, by a line through the logarithms of their ratios."""

    one: Words
    other: Words
    ahead: list[Ahead]
    compute: Above0 | None  # None: not between the budgets, or fewer than two budgets have both minima
    low: Above0 | None = None  # the interval's ends; None: beyond the budgets, or not known
    high: Above0 | None = None


class Result(Frozen):
    """All that a study says."""

    metric: Words
    architectures: list[Scaling]
    crossings: list[Crossing]
    repeated: Count  # runs that saw their data more than `EPOCHS` times


Drawn = list[Bottom | Missing]  # the minimum, and then of every resample


@dataclass(frozen=True)
class _Budget:
    """The runs of one architecture at one budget."""

    compute: float
    sizes: Sequence[str]  # ascending
    log_sizes: Sequence[float]
    drawn: Sequence[Sequence[float]]  # of each size: log errors as they are, and of every resample

    @cached_property
    def bottoms(self) -> Drawn:
        """One alone where some size has too few seeds."""
        columns = zip(*self.drawn, strict=False)  # as many as the shortest has
        return [bottom_of(self.log_sizes, column) for column in columns]

    @property
    def log_compute(self) -> float:
        """As lines take it."""
        return math.log(self.compute)


def analyse(points: Sequence[Point], metric: str, examples: int) -> Result:
    """What the runs say by one metric. `examples`: how many images they were trained on."""
    grouped = _grouped(points, metric)
    return Result(
        metric=metric,
        architectures=[_scaling(name, budgets) for name, budgets in grouped.items()],
        crossings=[_crossing(one, other, grouped[one], grouped[other]) for one, other in combinations(grouped, 2)],
        repeated=sum(point.images > EPOCHS * examples for point in points),
    )


def _grouped(points: Sequence[Point], metric: str) -> dict[str, list[_Budget]]:
    cells: dict[str, dict[float, dict[str, list[Point]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for point in sorted(points, key=lambda point: (point.training_macs, point.seed)):
        cells[point.architecture][point.budget][point.size].append(point)
    return {name: [_budget(c, cells[name][c], metric) for c in sorted(cells[name])] for name in sorted(cells)}


def _budget(compute: float, sizes: Mapping[str, Sequence[Point]], metric: str) -> _Budget:
    drawn = [
        log_means([point.errors[metric] for point in runs], f"{runs[0].label} {compute:g} {metric}")
        for runs in sizes.values()
    ]
    return _Budget(compute, list(sizes), [math.log(runs[0].training_macs) for runs in sizes.values()], drawn)


def _scaling(name: str, budgets: Sequence[_Budget]) -> Scaling:
    return Scaling(architecture=name, optima=[_optimum(of) for of in budgets], laws=_laws(budgets))


def _optimum(of: _Budget) -> Optimum:
    found, *_ = of.bottoms
    errors = [drawn[0] for drawn in of.drawn]
    best = errors.index(min(errors))
    told = Optimum(budget=of.compute, best=of.sizes[best], best_error=short(math.exp(errors[best])))
    if not isinstance(found, Bottom):
        return told.model_copy(update={"missing": found})
    return Optimum(
        budget=told.budget,
        best=told.best,
        best_error=told.best_error,
        size=short(math.exp(found.log_size)),
        size_interval=_interval(of.bottoms, lambda bottom: bottom.log_size),
        error=short(math.exp(found.log_error)),
        error_interval=_interval(of.bottoms, lambda bottom: bottom.log_error),
    )


def _interval(bottoms: Drawn, number: Callable[[Bottom], float]) -> Interval | None:
    _, *resampled = (number(bottom) if isinstance(bottom, Bottom) else None for bottom in bottoms)
    return _apart(interval(resampled))


def _laws(budgets: Sequence[_Budget]) -> Laws | None:
    """Fitted to all budgets with a minimum but the largest of them."""
    known = [of for of in budgets if isinstance(of.bottoms[0], Bottom)]
    if len(known) < FEWEST:
        return None
    *fitted, last = known
    sizes, errors = (list(_lines(fitted, number)) for number in (_log_size, _log_error))
    return Laws(
        size=_law(sizes),
        error=_law(errors),
        test=Test(
            budget=last.compute,
            size=_at(sizes, last)[0],
            size_interval=_at(sizes, last)[1],
            error=_at(errors, last)[0],
            error_interval=_at(errors, last)[1],
        ),
    )


def _log_size(bottom: Bottom) -> float:
    return bottom.log_size


def _log_error(bottom: Bottom) -> float:
    return bottom.log_error


def _lines(budgets: Sequence[_Budget], number: Callable[[Bottom], float]) -> Iterator[Line | None]:
    """Through the minima, and then of every resample; None where one of them has none."""
    x = [of.log_compute for of in budgets]
    for bottoms in zip(*(of.bottoms for of in budgets), strict=False):
        found = [bottom for bottom in bottoms if isinstance(bottom, Bottom)]
        yield line_through(x, [number(bottom) for bottom in found]) if len(found) == len(x) else None


def _law(lines: Sequence[Line | None]) -> Law:
    first, *resampled = lines
    assert first is not None
    slopes = interval([None if line is None else line.slope for line in resampled])
    return Law(
        exponent=short(first.slope),
        interval=slopes and (short(slopes[0]), short(slopes[1])),
        factor=short(math.exp(first.height)),
    )


def _at(lines: Sequence[Line | None], of: _Budget) -> tuple[float, Interval | None]:
    """What a law foretells."""
    first, *resampled = (None if line is None else line.at(of.log_compute) for line in lines)
    assert first is not None
    return short(math.exp(first)), _apart(interval(resampled))


def _crossing(one: str, other: str, of_one: Sequence[_Budget], of_other: Sequence[_Budget]) -> Crossing:
    others = {of.compute: of for of in of_other}
    both = [
        (of, others[of.compute])
        for of in of_one
        if of.compute in others
        and isinstance(of.bottoms[0], Bottom)
        and isinstance(others[of.compute].bottoms[0], Bottom)
    ]
    ratios = [list(_log_ratios(*pair)) for pair in both]
    budgets = [of.compute for of, _ in both]
    ahead = [
        Ahead(budget=budget, ratio=short(math.exp(ratio[0] or 0.0)), interval=_apart(interval(ratio[1:])))
        for budget, ratio in zip(budgets, ratios, strict=True)
    ]
    told = Crossing(one=one, other=other, ahead=ahead, compute=None)
    if len(both) < 2:
        return told
    first, *resampled = _zeros(budgets, ratios)
    if first is None or not budgets[0] <= math.exp(min(first, 700.0)) <= budgets[-1]:
        return told
    ends = interval(resampled)
    low, high = (_within(end, budgets) for end in ends) if ends else (None, None)
    return told.model_copy(update={"compute": short(math.exp(first)), "low": low, "high": high})


def _log_ratios(one: _Budget, other: _Budget) -> Iterator[float | None]:
    for a, b in zip(one.bottoms, other.bottoms, strict=False):
        yield a.log_error - b.log_error if isinstance(a, Bottom) and isinstance(b, Bottom) else None


def _zeros(budgets: Sequence[float], ratios: Sequence[Sequence[float | None]]) -> Iterator[float | None]:
    """Log compute at which the line through the log ratios is 0, as they are, and then of every resample."""
    x = [math.log(budget) for budget in budgets]
    for column in zip(*ratios, strict=False):
        known = [ratio for ratio in column if ratio is not None]
        yield line_through(x, known).zero if len(known) == len(x) else None


def _within(log_compute: float, budgets: Sequence[float]) -> float | None:
    inside = math.log(budgets[0]) <= log_compute <= math.log(budgets[-1])
    return short(math.exp(log_compute)) if inside else None


def _apart(ends: tuple[float, float] | None) -> Interval | None:
    """An interval of logarithms, as numbers."""
    return ends and (short(math.exp(ends[0])), short(math.exp(ends[1])))


def short(number: float) -> float:
    """As a study keeps it: machines differ in the last digits."""
    return float(f"{number:.5g}")
