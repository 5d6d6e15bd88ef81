"""What seeds allow to be said: a mean with its interval, and which of several models can be told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit

CONFIDENCE, ERROR = 0.95, 0.05
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


def compare(models: Sequence[Values]) -> list[Pair]:
    """Every pair of models. Of many equal pairs one in twenty is told apart by chance; `ranks` asks for more."""
    found = []
    for one, other in combinations(range(len(models)), 2):
        seeds = tuple(sorted(models[one].keys() & models[other].keys()))
        differences = [models[one][seed] - models[other][seed] for seed in seeds]
        shared = fmean(differences) if differences else None
        p, overall = paired_p(differences), fmean(models[one].values()) - fmean(models[other].values())
        agree = shared is not None and shared * overall > 0  # else the order by all seeds would contradict the test
        found.append(Pair(one, other, seeds, shared, p, agree and p <= ERROR))
    return found


def ranks(models: Sequence[Values], higher_is_better: bool = False) -> list[int]:
    """The rank of each model by its mean, 1 the best. Models that can't be told apart share one, as do all between.

    So a rank is a claim: every model of a lower number was told apart from every one of a higher number. Because all of
    these pairs must agree, equal models share a rank in at least 95 % of boards, however many they are.
    """
    order = sorted(range(len(models)), key=lambda m: fmean(models[m].values()) * (-1 if higher_is_better else 1))
    place = {model: position for position, model in enumerate(order)}
    reach = list(range(len(models)))  # position -> the last position that it shares a rank with
    for pair in compare(models):
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
