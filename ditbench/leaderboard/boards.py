"""Records to boards and rows: what may be compared, and how it is ranked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ..budget import Budget
from ..record import Measurement, Record
from .intervals import MIN_SEEDS, Estimate, Pair, Values, compare, ranks

MISSED = ("failed", "diverged")  # a run that ended so counts, as infinitely bad; an interrupted one has not ended


class Protocol(NamedTuple):
    """What all runs of a board share."""

    track: str
    version: int
    track_hash: str
    ruleset: str
    budget: str
    device: str  # "cpu" or "gpu"; under a budget of time the whole hardware class
    data: str  # sha256, as the next
    reference: str
    deviations: tuple[str, ...]  # why its runs are not what their track says


@dataclass(frozen=True)
class Row:
    """One architecture on one class of hardware, as one version of its plugin has it: its runs over all seeds."""

    label: str  # as the command line spells it, and the plugin's version where two rows would be called alike
    hardware: str
    records: tuple[Record, ...]  # by seed
    tier: str = "self-reported"  # the least of its runs'
    rank: int | None = None
    tied: bool = False  # whether others have that rank

    @cached_property
    def finished(self) -> tuple[Record, ...]:
        """The runs that have numbers."""
        return tuple(record for record in self.records if record.status == "finished")

    @cached_property
    def missed(self) -> tuple[Record, ...]:
        """The runs that failed or diverged."""
        return tuple(record for record in self.records if record.status in MISSED)

    @cached_property
    def quality(self) -> dict[str, Estimate]:
        """By protocol, the one that ranks first. All runs of a board have the same metrics."""
        return {
            measurement.protocol: Estimate(tuple(record.metrics[place].value for record in self.finished))
            for place, measurement in enumerate(self.measurements)
        }

    @cached_property
    def measurements(self) -> tuple[Measurement, ...]:
        """Those of the first finished run, which say how to read the others'."""
        return tuple(self.finished[0].metrics) if self.finished else ()

    @cached_property
    def values(self) -> Values:
        """The metric that ranks, by seed."""
        return {record.seed: record.metrics[0].value for record in self.finished if record.metrics}

    @property
    def provisional(self) -> str:
        """Why the row has too few runs for a rank; empty if it has enough."""
        counted = {record.seed for record in (*self.finished, *self.missed)}
        missing = set(range(max(counted, default=0) + 1)) - counted
        if len(counted) >= MIN_SEEDS and not missing:
            return ""
        if missing and len(counted) >= MIN_SEEDS:
            return f"provisional: seed {min(missing)} is missing, and seeds count from 0"
        return f"provisional: {len(counted)} of {MIN_SEEDS} seeds"

    @property
    def status(self) -> str:
        """What a reader must know of the row: runs that did not finish, and why; too few seeds."""
        bad = [record for record in self.records if record.status != "finished"]
        told = [f"{len(bad)} of {len(self.records)} {bad[0].status}: {bad[0].reason}"] if bad else []
        if self.provisional:
            told.append(self.provisional)
        return "; ".join(told) or "finished"


@dataclass(frozen=True)
class Board:
    """Runs that may be compared, in rows."""

    protocol: Protocol
    rows: tuple[Row, ...]  # best first by the track's first metric; those with runs that failed after them

    @property
    def records(self) -> list[Record]:
        """All runs, row by row."""
        return [record for row in self.rows for record in row.records]

    @property
    def ranked(self) -> bool:
        """Whether the runs are what their track says."""
        return not self.protocol.deviations

    @property
    def title(self) -> str:
        """What the board compares, in one line."""
        of = self.protocol
        ruleset = "" if of.ruleset == "matched" else f", {of.ruleset} recipes"
        return f"{of.track} v{of.version}{ruleset}, {of.budget}, {of.device}{'' if self.ranked else ', unranked'}"

    @property
    def slug(self) -> str:
        """A name for files and anchors, of no characters but letters, digits and dashes; `boards` keeps them unique."""
        of = self.protocol
        text = f"{of.track}-v{of.version}-{of.ruleset}-{of.budget}-{of.device}"
        return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in text).split()).lower()

    @property
    def hardware(self) -> list[str]:
        """The classes of hardware its runs were on: speed and memory of two of them do not compare."""
        return sorted({row.hardware for row in self.rows})

    @property
    def target(self) -> float | None:
        """The quality that its track asks when it was reached; the newest record's track tells."""
        newest = max(self.records, key=lambda record: (record.created, record.run_id))
        return newest.track.target

    @cached_property
    def pairs(self) -> list[Pair]:
        """What can be said of each two rows, by their places in `comparable`."""
        return compare([row.values for row in self.comparable])

    @cached_property
    def comparable(self) -> list[Row]:
        """The rows that have a rank by their values."""
        return [row for row in self.rows if row.rank is not None and not row.missed]


def boards(records: Iterable[Record], tiers: Mapping[str, str] | None = None) -> list[Board]:
    """Sort records into boards, and rank their rows; numbers of different protocols or data never share a board.

    `tiers` says of run ids whether somebody else has checked them; the others are self-reported.
    """
    groups: dict[Protocol, list[Record]] = defaultdict(list)
    for record in records:
        groups[_protocol(record)].append(record)
    return [Board(protocol, tuple(_rows(group, tiers or {}))) for protocol, group in sorted(groups.items())]


def on_the_boards_of(records: Iterable[Record], others: Iterable[Record]) -> list[Record]:
    """Those of the others that share a board with one of the records."""
    run_ids = {record.run_id for record in records}
    found = [board.records for board in boards(others)]
    return [record for group in found if run_ids & {r.run_id for r in group} for record in group]


def hardware_of(record: Record) -> str:
    """The class of hardware: the GPU's model, or the processor's and how many threads ran on it."""
    environment = record.environment
    if environment is None:
        return record.device.partition(":")[0]
    return environment.gpu or f"{environment.cpu}, {environment.threads} threads"


def _protocol(record: Record) -> Protocol:
    timed = Budget.parse(record.budget).unit in ("seconds", "gpu_hours")
    on_gpu = record.device.startswith("cuda")
    return Protocol(
        record.track.name,
        record.track.version,
        record.track_hash,
        record.ruleset,
        record.budget,
        hardware_of(record) if timed else "gpu" if on_gpu else "cpu",
        record.data_sha256,
        record.reference_sha256,
        tuple(record.deviations),
    )


def _rows(records: Sequence[Record], tiers: Mapping[str, str]) -> list[Row]:
    """One board's rows, ranked and in order."""
    groups: dict[tuple[str, str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        of = record.architecture
        groups[of.label, hardware_of(record), of.distribution, of.distribution_version, of.source_sha256].append(record)
    named = Counter((label, hardware) for label, hardware, *_ in groups)
    found = []
    for (label, hardware, distribution, version, source), group in groups.items():
        full = label if named[label, hardware] == 1 else f"{label} ({distribution} {version}, {source[:6]})"
        found.append(Row(full, hardware, tuple(sorted(group, key=lambda r: (r.seed, r.run_id))), _tier(group, tiers)))
    ranked = _ranked(found) if not records[0].deviations else found
    return sorted(ranked, key=_order)


_TIERS = ("self-reported", "re-evaluated", "re-trained")


def _tier(records: Sequence[Record], tiers: Mapping[str, str]) -> str:
    return min((tiers.get(record.run_id, _TIERS[0]) for record in records), key=_TIERS.index)


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Rows with enough seeds get ranks; those of which a run failed or diverged share the one after all others."""
    able = [row for row in rows if not row.provisional]
    whole = [row for row in able if not row.missed and row.values]
    higher = bool(whole) and whole[0].measurements[0].higher_is_better
    of = dict(zip(map(id, whole), ranks([row.values for row in whole], higher), strict=True))
    places = {id(row): of.get(id(row), len(whole) + 1) for row in able}
    shared = Counter(places.values())
    return [
        replace(row, rank=places[id(row)], tied=shared[places[id(row)]] > 1) if id(row) in places else row
        for row in rows
    ]


def _order(row: Row) -> tuple[bool, bool, float, str, str]:
    sign = -1 if row.measurements and row.measurements[0].higher_is_better else 1
    mean = sign * Estimate(tuple(row.values.values())).mean if row.values else 0.0
    return not row.values, bool(row.missed), mean, row.label, row.hardware
