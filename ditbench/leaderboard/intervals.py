"""What seeds allow to be said: a mean with its interval, and which of several models can be told apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

CONFIDENCE, ERROR = 0.95, 0.05
RESAMPLES = 1000  # of seeds, for an interval
MIN_SEEDS = 3  # with two, an interval is 9 standard deviations wide on either side
Values = Mapping[int, float]  # seed -> value


@dataclass(frozen=True)
class Estimate:
    """A number measured once per seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds: never the best of them."""
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds (n - 1): the noise of training and sampling together. None: one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def half_width(self) -> float | None:
        """The 95 % interval is the mean plus or minus this (Student's t). None: one seed."""
        if self.deviation is None:
            return None
        count = len(self.values)
        return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * self.deviation / math.sqrt(count)


@dataclass(frozen=True)
class Pair:
    """Two models, by their places in what was compared, and what their seeds say of the difference."""

    one: int
    other: int
    seeds: tuple[int, ...]  # that both have
    difference: float | None  # mean of one - other over these seeds. None: they share none
    p: float  # two-sided, of a paired t-test; 1 with fewer than `MIN_SEEDS` shared seeds
    told_apart: bool


def paired_p(differences: Sequence[float]) -> float:
    """Probability of so large a mean difference, either way, if there is none: Student's paired t-test.

    The seed fixes the order of the data and the noise for every model, so their differences are what varies least.
    Differences that do not vary at all are no seeds' (copies, or shares of a few samples): they tell nothing, p is 1.
    """
    if len(differences) < MIN_SEEDS:
        return 1.0
    count, largest = len(differences), max(map(abs, differences))
    if largest == 0:
        return 1.0
    scaled = [difference / largest for difference in differences]  # squares of tiny ones would vanish
    mean = fmean(scaled)
    variance = math.fsum((d - mean) ** 2 for d in scaled) / (count - 1)  # `stdev` is exact, and 50 times slower
    return 2 * float(stdtr(count - 1, -abs(mean) / math.sqrt(variance / count))) if variance else 1.0


def p_below(values: Sequence[float], target: float) -> float:
    """Probability that a mean is so far below a target by chance: Student's one-sided t-test. 1/2: it tells nothing."""
    differences = [value - target for value in values]
    half = paired_p(differences) / 2
    return half if fmean(differences) < 0 else 1 - half


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """What `CONFIDENCE` of the values lie between, of resamples that is their interval."""
    outside = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [outside, 100 - outside])
    return float(low), float(high)


def widening(seeds: int) -> float:
    """By what a mean of seeds that are drawn again must be moved away from their mean.

    It lies closer to it than the mean of new seeds would, by sqrt((n - 1) / n).
    """
    return math.sqrt(seeds / (seeds - 1))


def level_for(groups: Iterable[int]) -> float:
    """The p that a test must reach on a board, so that at most 5 % of boards divide any equal models.

    groups: the sizes of the groups of rows that share a rank. Among n rows there are at most n // 2 sets of equal
    models, each of which is divided with a probability of no more than the level: a boundary asks all pairs across it
    to differ. So the level is 5 % by the number of these sets. As boundaries are found there can be fewer, and it rises
    (sequential rejection: Goeman & Solari, 2010).
    """
    return ERROR / max(1, sum(size // 2 for size in groups))


def compare(models: Sequence[Values], level: float = ERROR) -> list[Pair]:
    """Every pair of models, told apart at a level; `ranking` finds the level at which all of a board's claims hold."""
    found = []
    for one, other in combinations(range(len(models)), 2):
        seeds = tuple(sorted(models[one].keys() & models[other].keys()))
        differences = [models[one][seed] - models[other][seed] for seed in seeds]
        shared = fmean(differences) if differences else None
        p, overall = paired_p(differences), fmean(models[one].values()) - fmean(models[other].values())
        agree = shared is not None and shared * overall > 0  # else the order by all seeds would contradict the test
        found.append(Pair(one, other, seeds, shared, p, agree and p <= level))
    return found


class Ranking(NamedTuple):
    """The rank of each model, 1 the best, and the level of the tests behind them."""

    ranks: list[int]
    level: float


def ranking(models: Sequence[Values], higher_is_better: bool = False) -> Ranking:
    """Rank models by their means. Those that can't be told apart share a rank, as do all between.

    So a rank is a claim: every model of a lower number was told apart from every one of a higher number. At least 95 %
    of boards make no wrong one, however many equal models there are, and wherever they stand.
    """
    level = level_for([len(models)])
    while True:
        found = _ranks_at(level, models, higher_is_better)
        higher = level_for(Counter(found).values())
        if higher <= level:
            return Ranking(found, level)
        level = higher


def _ranks_at(level: float, models: Sequence[Values], higher_is_better: bool) -> list[int]:
    order = sorted(range(len(models)), key=lambda m: fmean(models[m].values()) * (-1 if higher_is_better else 1))
    place = {model: position for position, model in enumerate(order)}
    reach = list(range(len(models)))  # position -> the last position that it shares a rank with
    for pair in compare(models, level):
        first, last = sorted((place[pair.one], place[pair.other]))
        if not pair.told_apart:
            reach[first] = max(reach[first], last)
    found, rank, group_ends = [0] * len(models), 1, -1
    for position, model in enumerate(order):
        if position > group_ends:
            rank = position + 1
        group_ends = max(group_ends, reach[position])
        found[model] = rank
    return found
