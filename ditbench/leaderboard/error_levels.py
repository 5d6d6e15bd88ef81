"""The denoising errors of two networks beside each other: at which levels of noise one is better, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from ..records.denoising import LEVELS, LOG_SNRS, ErrorCurve
from ..records.record import Record
from .boards import Row, boards
from .intervals import ERROR, MIN_SEEDS, Estimate, paired_p

_LEVEL = ERROR / LEVELS  # what p a level needs, so that at most 5 % of comparisons claim too much anywhere


class Level(NamedTuple):
    """What two networks make of one level of noise."""

    log_snr: float
    one: Estimate  # over the seeds: (1 + SNR) times the squared error; the mean over the levels is what ranks
    other: Estimate
    ratio: float | None  # of the means. None: the other has no error
    p: float
    better: int | None  # 0: the first, 1: the other. None: they can't be told apart


@dataclass(frozen=True)
class Comparison:
    """Two networks at all levels, and by what these were compared."""

    levels: Sequence[Level]
    seeds: tuple[int, ...]  # that both have, if the test is paired over them. Empty: it is by the images' errors alone
    images: int
    names: tuple[str, str]

    @property
    def words(self) -> str:
        """Where which of them is better."""
        found: dict[int, list[str]] = {}
        for winner, some in groupby(range(LEVELS), key=lambda place: self.levels[place].better):
            if winner is not None:
                found.setdefault(winner, []).append(_where(list(some)))
        if not found:
            return "No level of noise tells them apart."
        told = [f"{self.names[who]} is better {' and '.join(places)}" for who, places in found.items()]
        return f"{'; '.join(told)}."

    @property
    def how(self) -> str:
        """By what test, and what it does not see."""
        asked = f"a level needs p ≤ {_LEVEL:.2g}, so that all {LEVELS} claim too much in 5 % of cases at most"
        if self.seeds:
            return f"Paired t-tests over {len(self.seeds)} seeds; {asked}."
        return f"By the errors over the {self.images} images alone, which leave out how seeds differ; {asked}."


def compare_errors(one: Sequence[Record], other: Sequence[Record]) -> Comparison | None:
    """The runs of two rows, or a run of each. None: they have no such errors, or not of the same images."""
    sides = [[record for record in records if record.denoising] for records in (one, other)]
    seen = {_images(record) for records in sides for record in records}
    if not all(sides) or len(seen) != 1:
        return None
    curves = [{record.seed: _held_out(record) for record in records} for records in sides]
    shared = tuple(sorted(curves[0].keys() & curves[1].keys()))
    seeds = shared if len(shared) >= MIN_SEEDS else ()
    levels = [_level(place, list(curves[0].values()), list(curves[1].values())) for place in range(LEVELS)]
    if seeds:
        levels = [
            _paired(of, [weighed(by[s], place) for by in curves for s in seeds]) for place, of in enumerate(levels)
        ]
    labels = [records[0].architecture.label for records in sides]
    names = (labels[0], labels[1]) if labels[0] != labels[1] else ("the first", "the other")
    return Comparison(levels, seeds, next(iter(seen))[1], names)


def row_of(record: Record, others: Iterable[Record]) -> Row:
    """The row that a record has with those of the others that differ in their seeds alone."""
    found = (row for board in boards([record, *others]) for row in board.rows)
    return next(row for row in found if record in row.records)


def weighed(curve: ErrorCurve, place: int) -> float:
    """The error at a level as the metric that ranks weighs it."""
    return (1 + math.exp(LOG_SNRS[place])) * curve.errors[place]


def _images(record: Record) -> tuple[str, int, bool]:
    assert record.denoising is not None
    return record.data_sha256, record.denoising.images, record.denoising.labelled


def _held_out(record: Record) -> ErrorCurve:
    assert record.denoising is not None
    return record.denoising.curves[0]


def _level(place: int, ours: Sequence[ErrorCurve], theirs: Sequence[ErrorCurve]) -> Level:
    """By the images' standard errors. They are the same for both, so that less would do."""
    one, other = (Estimate(tuple(weighed(curve, place) for curve in curves)) for curves in (ours, theirs))
    weight = 1 + math.exp(LOG_SNRS[place])
    errors = [weight * fmean(curve.standard_errors[place] for curve in curves) for curves in (ours, theirs)]
    difference, error = one.mean - other.mean, math.hypot(*errors)
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else 1.0
    return _judged(Level(LOG_SNRS[place], one, other, one.mean / other.mean if other.mean else None, p, None))


def _paired(level: Level, values: Sequence[float]) -> Level:
    """By the seeds that both have: the values of the one, then of the other."""
    half = len(values) // 2
    return _judged(level._replace(p=paired_p([a - b for a, b in zip(values[:half], values[half:], strict=True)])))


def _judged(level: Level) -> Level:
    better = int(level.one.mean > level.other.mean) if level.p <= _LEVEL else None
    return level._replace(better=better)


def _where(places: Sequence[int]) -> str:
    first, last = places[0], places[-1]
    if (first, last) == (0, LEVELS - 1):
        return "at every level of noise"
    if last == LEVELS - 1:
        return f"at low noise (log-SNR {LOG_SNRS[first]:.1f} and above)"
    if first == 0:
        return f"at high noise (log-SNR {LOG_SNRS[last]:.1f} and below)"
    return f"at log-SNR {LOG_SNRS[first]:.1f}" + (f" to {LOG_SNRS[last]:.1f}" if last > first else "")
