"""What runs measured on the way: learning curves, and when training reached its track's target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records.facts import Measurement, Milestone, TrainingFacts
from ..records.record import Record
from .boards import Board, Row
from .costs import flops
from .intervals import Estimate


@dataclass(frozen=True)
class Point:
    """What one run had spent and reached at a share of its budget."""

    at: float
    steps: int
    images: int
    seconds: float
    flops: float
    quality: dict[str, float]  # by protocol


@dataclass(frozen=True)
class RowPoint:
    """The same over a row's seeds."""

    at: float
    images: Estimate
    seconds: Estimate
    flops: Estimate
    quality: Estimate


@dataclass(frozen=True)
class Reached:
    """When the runs of a row were first seen at a target or beyond it."""

    points: tuple[Point | None, ...]  # one per run; None: never seen there, or it failed or diverged

    @property
    def found(self) -> tuple[Point, ...]:
        """Those that got there."""
        return tuple(point for point in self.points if point is not None)

    @property
    def count(self) -> str:
        """``2 of 3 runs``."""
        return f"{len(self.found)} of {len(self.points)} runs"

    @property
    def whole(self) -> bool:
        """Whether all runs got there: a mean over some would leave out the slowest."""
        return len(self.found) == len(self.points)

    @property
    def images(self) -> Estimate | None:
        """What it took. None, as in the next two: not all runs got there."""
        return Estimate(tuple(float(point.images) for point in self.found)) if self.whole else None

    @property
    def seconds(self) -> Estimate | None:
        """Of training."""
        return Estimate(tuple(point.seconds for point in self.found)) if self.whole else None

    @property
    def flops(self) -> Estimate | None:
        """Of training."""
        return Estimate(tuple(point.flops for point in self.found)) if self.whole else None


def course(record: Record) -> list[Point]:
    """The milestones of a run and its end; empty if it was only measured at the end."""
    if record.status != "finished" or not record.milestones or record.training is None:
        return []
    way = [_point(record, milestone.at, milestone, milestone.metrics) for milestone in record.milestones]
    return [*sorted(way, key=lambda point: point.at), _point(record, 1.0, record.training, record.metrics)]


def row_course(row: Row, protocol: str) -> list[RowPoint]:
    """A row's learning curve: the shares of the budget at which all its finished runs have that metric."""
    courses = [{point.at: point for point in course(record)} for record in row.finished]
    shares = set.intersection(*map(set, courses)) if courses else set()
    points = [(at, [points[at] for points in courses]) for at in sorted(shares)]
    return [_row_point(at, found, protocol) for at, found in points if all(protocol in p.quality for p in found)]


def reached(row: Row, board: Board) -> Reached | None:
    """When the row's runs reached the board's target by the metric that ranks.

    By what was measured: nothing is interpolated, so this is an upper bound, as fine as the milestones are dense. A
    run that failed or diverged never got there. None without a target, or if a finished run has no milestones.
    """
    if board.target is None or not row.measurements:
        return None
    courses = [course(record) for record in row.finished]
    if not all(courses):
        return None
    first = row.measurements[0]
    hits = [_first_beyond(points, first, board.target) for points in courses]
    return Reached((*hits, *(None for _ in row.missed)))


def _point(record: Record, at: float, spent: Milestone | TrainingFacts, metrics: Sequence[Measurement]) -> Point:
    quality = {measurement.protocol: measurement.value for measurement in metrics}
    return Point(at, spent.steps, spent.images, spent.seconds, flops(record, spent.images), quality)


def _row_point(at: float, points: Sequence[Point], protocol: str) -> RowPoint:
    return RowPoint(
        at,
        Estimate(tuple(float(point.images) for point in points)),
        Estimate(tuple(point.seconds for point in points)),
        Estimate(tuple(point.flops for point in points)),
        Estimate(tuple(point.quality[protocol] for point in points)),
    )


def _first_beyond(points: Sequence[Point], metric: Measurement, target: float) -> Point | None:
    sign = -1 if metric.higher_is_better else 1
    values = ((point, point.quality.get(metric.protocol)) for point in points)
    return next((point for point, value in values if value is not None and sign * value <= sign * target), None)
