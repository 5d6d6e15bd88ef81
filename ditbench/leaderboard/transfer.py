"""Does a ranking carry over, to another track, budget or metric? Rank correlations, from records alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean

import numpy as np
import numpy.typing as npt

from ..errors import brief
from ..records.denoising import ErrorPoint
from ..records.record import Record
from .boards import Board, Row
from .intervals import RESAMPLES, Values, percentiles, ranking, widening
from .labels import of_any_size

MIN_ARCHITECTURES = 3  # of which a correlation is told
_PAIRS = ("denoise", "fid")  # metrics that all others of a board are held against


NOTE = (
    "Kendall's tau is 1 where every pair of networks stands in the same order, 0 where half of them do, -1 where none "
    "does; in brackets 95 % over seeds drawn again, for these networks. Same order: of the pairs that both tell apart."
)
HEADINGS = ("board", "metrics", "networks", "Kendall's tau", "same order")


@dataclass(frozen=True)
class Ordering:
    """What one metric of one board says of its architectures, whatever their sizes."""

    board: str  # its title
    metric: str  # full name, or where in the training
    values: Mapping[str, Values]  # architecture -> seed -> value
    higher_is_better: bool = False

    @property
    def kind(self) -> str:
        """The metric without its sample count and features."""
        return self.metric.partition("/")[0].rstrip("0123456789k")

    def of(self, architectures: Sequence[str]) -> Ordering:
        """The same of these alone."""
        return replace(self, values={name: self.values[name] for name in architectures})

    @cached_property
    def ranks(self) -> list[int]:
        """Of its architectures: those that can't be told apart share one."""
        return ranking(list(self.values.values()), self.higher_is_better).ranks

    @cached_property
    def seeds(self) -> list[int]:
        """That all of its architectures have."""
        return sorted(set.intersection(*(set(of_seed) for of_seed in self.values.values())))

    def means(self, draws: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        """By draw of places in `seeds` and architecture, lower is better: (draws, architectures)."""
        sign = -1.0 if self.higher_is_better else 1.0
        by_seed = np.array([[sign * of_seed[seed] for seed in self.seeds] for of_seed in self.values.values()])
        middle, drawn = by_seed.mean(1), by_seed[:, np.array(draws)].mean(2).T
        means: npt.NDArray[np.float64] = middle + widening(len(self.seeds)) * (drawn - middle)
        return means


@dataclass(frozen=True)
class Correlation:
    """How far two orderings of the same architectures agree."""

    one: Ordering
    other: Ordering

    @property
    def architectures(self) -> list[str]:
        """That both have."""
        return list(self.one.values)

    @property
    def tau(self) -> float:
        """Kendall's: 1 where every pair stands in the same order, -1 where every pair is the other way round."""
        ours, theirs = (_signs(np.array([[_mean(of, name) for name in of.values]])) for of in (self.one, self.other))
        return float((ours * theirs).mean())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % of the values over seeds that are drawn again, for these architectures; the same runs go together."""
        of_one = _draws(len(self.one.seeds))
        together = self.one.board == self.other.board and self.one.seeds == self.other.seeds
        of_other = of_one if together else _draws(len(self.other.seeds), first=1)
        taus = (_signs(self.one.means(of_one)) * _signs(self.other.means(of_other))).mean(1)
        return percentiles(taus)

    @property
    def facts(self) -> dict[str, object]:
        """For programs."""
        same, told = self.told_apart
        return {
            "boards": [self.one.board, self.other.board],
            "metrics": [self.one.metric, self.other.metric],
            "architectures": self.architectures,
            "kendall_tau": round(self.tau, 4),
            "interval": [round(end, 4) for end in self.interval],
            "pairs_told_apart_by_both": told,
            "of_these_in_the_same_order": same,
        }

    @property
    def words(self) -> list[str]:
        """The cells of a table under `HEADINGS`."""
        (low, high), (same, told) = self.interval, self.told_apart
        one, other = self.one, self.other
        where = one.board if one.board == other.board else f"{one.board} | {other.board}"
        what = one.metric if one.metric == other.metric else f"{one.metric} | {other.metric}"
        tau = f"{self.tau:.2f} ({low:.2f} to {high:.2f})"
        return [where, what, str(len(self.architectures)), tau, f"{same} of {told}" if told else "—"]

    @cached_property
    def told_apart(self) -> tuple[int, int]:
        """Of the pairs that both tell apart, how many stand in the same order; and how many there are."""
        pairs = combinations(range(len(self.architectures)), 2)
        both = [(self.one.ranks[i] - self.one.ranks[j]) * (self.other.ranks[i] - self.other.ranks[j]) for i, j in pairs]
        return sum(one > 0 for one in both), sum(one != 0 for one in both)


def _mean(of: Ordering, name: str) -> float:
    return (-1 if of.higher_is_better else 1) * fmean(of.values[name].values())


def _signs(means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Which of two comes first: (draws, architectures) to (draws, pairs)."""
    one, other = np.triu_indices(means.shape[1], 1)
    return np.sign(means[:, one] - means[:, other])


def _draws(seeds: int, first: int = 0) -> list[list[int]]:
    """Python's generator: its numbers are the same in every version."""
    draw = random.Random(first)
    return [draw.choices(range(seeds), k=seeds) for _ in range(RESAMPLES)]


def questions(boards: Sequence[Board]) -> dict[str, list[Correlation]]:
    """What is asked, in words, and what the records answer; the boards are those with ranks."""
    return {
        "Do metrics agree on one board?": between_metrics(boards),
        "Do boards agree on one metric?": between_boards(boards),
        "Does the order on the way foretell the order at the end?": on_the_way(boards),
    }


def between_metrics(boards: Sequence[Board]) -> list[Correlation]:
    """On each board: every metric against the denoising error, and against FID."""
    found = []
    for board in boards:
        known = {of.kind: of for of in orderings(board)}
        for place, kind in enumerate(_PAIRS):
            others = [of for name, of in known.items() if name not in _PAIRS[: place + 1]]
            found += [pair for of in others if kind in known and (pair := correlate(known[kind], of))]
    return found


def between_boards(boards: Sequence[Board]) -> list[Correlation]:
    """Every metric against that of its kind on every other board, such as that of another track or budget."""
    found = []
    for one, other in combinations(boards, 2):
        theirs = {of.kind: of for of in orderings(other)}
        found += [pair for of in orderings(one) if of.kind in theirs and (pair := correlate(of, theirs[of.kind]))]
    return found


def on_the_way(boards: Sequence[Board]) -> list[Correlation]:
    """On each board: the error on a few images at shares of the budget against that at its end."""
    found = []
    for points in (list(_points(board)) for board in boards):
        found += [pair for of in points[:-1] if (pair := correlate(of, points[-1]))]
    return found


def correlate(one: Ordering, other: Ordering) -> Correlation | None:
    """Of the architectures that both have; None where these are too few, or share too few seeds."""
    shared = [name for name in one.values if name in other.values]
    if len(shared) < MIN_ARCHITECTURES:
        return None
    return Correlation(one.of(shared), other.of(shared))


def orderings(board: Board) -> list[Ordering]:
    """What each metric of a ranked board says of the rows that have a rank."""
    rows = _rows(board)
    if not rows:
        return []
    first = next(iter(rows.values()))
    return [
        Ordering(
            board=board.title,
            metric=one.protocol,
            values={name: row.metrics[one.protocol] for name, row in rows.items()},
            higher_is_better=one.higher_is_better,
        )
        for one in first.measurements
        if one.metric != "memorised"  # which warns, and orders nothing
    ]


def _points(board: Board) -> Iterator[Ordering]:
    """One for each share of the budget at which every run of every row was seen."""
    found = {name: {run.seed: _by_share(run) for run in row.finished} for name, row in _rows(board).items()}
    shares = [set(points) for runs in found.values() for points in runs.values()]
    for at in sorted(set.intersection(*shares)) if shares else ():
        values = {name: {seed: points[at].error for seed, points in runs.items()} for name, runs in found.items()}
        yield Ordering(board.title, f"denoise at {100 * at:g} % of the budget", values)


def _by_share(run: Record) -> dict[float, ErrorPoint]:
    return {point.at: point for point in run.denoising.points} if run.denoising else {}


def _rows(board: Board) -> dict[str, Row]:
    """By architecture without its size, the newest network of each; with the size, where a board has several."""
    newest: dict[str, Row] = {}
    for row in sorted(board.comparable, key=lambda row: max(record.created for record in row.records)):
        newest[row.records[0].architecture.label] = row
    any_size = {name: of_any_size(row.records[0]) for name, row in newest.items()}
    several = Counter(any_size.values())
    return {brief(any_size[name] if several[any_size[name]] == 1 else name): newest[name] for name in sorted(newest)}
