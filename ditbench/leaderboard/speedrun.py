"""The history of speedruns: which rows reach all targets of their track, in what time, and which were the fastest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from ..records.facts import Measurement
from ..records.record import Record
from ..tracks.speedrun import Speedrun
from .boards import Board, Row
from .costs import FLOPS, IMAGES, SECONDS
from .intervals import Estimate, p_below
from .protocol import BESIDE_OTHERS
from .tables import number

LEVEL = 0.01  # what p a mean needs to be below a target
NOBODY = "—"


class Course(NamedTuple):
    """What the entries of a history share: times of other hardware, or numbers of other protocols, do not compare."""

    track: str
    version: int
    track_hash: str
    network: str
    hardware: str
    data: str
    reference: str
    metrics: tuple[str, ...]

    @property
    def title(self) -> str:
        """In one line."""
        return f"{self.track} v{self.version}, {self.network}, {self.hardware}"


@dataclass(frozen=True)
class Reached:
    """A target, and how sure the row's seeds are to be beyond it."""

    of: Measurement
    target: float
    values: Estimate
    p: float

    @property
    def holds(self) -> bool:
        """Whether the mean is beyond the target at p < 0.01."""
        return self.p < LEVEL

    @property
    def told(self) -> str:
        """Mean and p, e.g. ``1.35 (p = 0.0004)``."""
        p = "p < 0.0001" if self.p < 1e-4 else f"p = {self.p:.2g}"
        return f"{number(self.values.mean)} ({p})"


@dataclass(frozen=True)
class Entry:
    """A row of a speedrun."""

    board: Board
    row: Row
    reached: tuple[Reached, ...]
    differs: str = ""  # in what its recipe differs from the record before, or from the track's own
    is_record: bool = False  # whether it was faster than all that counted before

    @property
    def first(self) -> Record:
        """The run that speaks for all: they have one recipe."""
        return self.row.records[0]

    @cached_property
    def when(self) -> datetime:
        """When the last of its runs had been made."""
        return max(record.created for record in self.row.records)

    @property
    def who(self) -> str:
        """Who has put it forward."""
        return next((record.submission.by for record in self.row.records if record.submission), NOBODY)

    @cached_property
    def seconds(self) -> Estimate | None:
        """Of training, by the clock of the budget."""
        return SECONDS.estimate(self.row)

    @property
    def time(self) -> str:
        """The mean, and half its 95 % interval over the seeds."""
        of = self.seconds
        return "" if of is None else number(of.mean) + ("" if of.half_width is None else f" ± {number(of.half_width)}")

    @property
    def images(self) -> str:
        """Of training."""
        of = IMAGES.estimate(self.row)
        return "" if of is None else f"{of.mean:,.0f}"

    @property
    def teraflops(self) -> str:
        """Of training, by the rule of a budget of FLOPs."""
        of = FLOPS.estimate(self.row)
        return "" if of is None else number(of.mean / FLOPS.scale)

    @cached_property
    def fault(self) -> str:
        """Why it does not count; empty: it does."""
        row = self.row
        if not self.board.ranked:
            return f"not what its track says: {'; '.join(self.board.protocol.deviations)}"
        if row.missing or row.provisional:
            return row.missing or row.provisional
        if any(clock.beside_others for clock in row.clocks):
            return f"its times were measured {BESIDE_OTHERS}"
        short = [one for one in self.reached if not one.holds]
        return "; ".join(f"{one.of.protocol} {one.told} does not reach {one.target:g}" for one in short)


@dataclass(frozen=True)
class History:
    """All entries of one course, by date."""

    course: Course
    asked: Speedrun
    targets: tuple[str, ...]  # in words, e.g. "denoise256/logsnr16 < 0.345"
    entries: tuple[Entry, ...]  # that count
    others: tuple[Entry, ...]  # that do not

    @property
    def records(self) -> list[Entry]:
        """The entries that were the fastest when they came."""
        return [entry for entry in self.entries if entry.is_record]


def is_speedrun(board: Board) -> bool:
    """Whether a board's rows are entries of a speedrun."""
    return board.records[0].ruleset == "speedrun"


def histories(boards: Iterable[Board]) -> list[History]:
    """One for each track, version and class of hardware. Entries without a finished run are of none."""
    found: dict[Course, list[Entry]] = defaultdict(list)
    for board in filter(is_speedrun, boards):
        for row in (row for row in board.rows if row.finished):
            found[_course(board, row)].append(Entry(board, row, tuple(_reached(row))))
    return [_history(course, found[course]) for course in sorted(found)]


def counts(board: Board) -> list[str]:
    """Which rows of a speedrun's board count and which do not, a line each."""
    entries = [entry for history in histories([board]) for entry in (*history.entries, *history.others)]
    return [
        f"Does not count: {entry.row.label}: {entry.fault}."
        if entry.fault
        else f"Counts: {entry.row.label} reaches all targets in {entry.time} s."
        for entry in entries
    ]


def _course(board: Board, row: Row) -> Course:
    of, asked = board.protocol, _asked(row)
    shared = (of.track, of.version, of.track_hash, asked.network, row.hardware, of.data, of.reference)
    return Course(*shared, metrics=of.metrics if board.ranked else ())


def _asked(row: Row) -> Speedrun:
    """What the newest of its records says of the track's speedrun."""
    asked = max(row.records, key=lambda record: (record.created, record.run_id)).track.speedrun
    assert asked is not None  # `Record`
    return asked


def _reached(row: Row) -> Iterator[Reached]:
    names = row.finished[0].track.evaluation.metrics
    for name, target in _asked(row).targets.items():
        of = next((m for asked, m in zip(names, row.measurements, strict=False) if asked == name), None)
        if of is not None:
            values = row.quality[of.protocol]
            sign = -1 if of.higher_is_better else 1
            yield Reached(of, target, values, p_below([sign * value for value in values.values], sign * target))


def _history(course: Course, found: Sequence[Entry]) -> History:
    ordered = sorted(found, key=lambda entry: (entry.when, entry.board.slug))
    counted, fastest, before = list[Entry](), None, None
    for entry in (entry for entry in ordered if not entry.fault):
        told = replace(entry, differs=_differs(entry.first, before))
        assert told.seconds is not None  # all its runs finished
        if fastest is None or told.seconds.mean < fastest:
            fastest, before = told.seconds.mean, told.first
            told = replace(told, is_record=True)
        counted.append(told)
    asked, last = _asked(ordered[-1].row), ordered[-1]
    targets = tuple(_as_words(one) for one in last.reached)
    return History(course, asked, targets, tuple(counted), tuple(entry for entry in ordered if entry.fault))


def _as_words(one: Reached) -> str:
    return f"{one.of.protocol} {'>' if one.of.higher_is_better else '<'} {one.target:g}"


def _differs(record: Record, before: Record | None) -> str:
    """In what of recipe, objective and budget a record is not as the one before; the first: not as its track."""
    ours = {**_recipe(record), "budget": record.budget}
    track = record.track
    own = {**track.recipe.learns, **track.objective.settings, "budget": str(track.amount(None))}
    theirs = own if before is None else {**_recipe(before), "budget": before.budget}
    names = [name for name in (*ours, *(theirs.keys() - ours.keys())) if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{name} {_shown(theirs.get(name))} → {_shown(ours.get(name))}" for name in names)


def _recipe(record: Record) -> dict[str, Any]:
    return {**record.recipe.learns, **record.objective.settings}


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_shown, value))})"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
