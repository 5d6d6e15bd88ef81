"""What the site is made of, and where each thing lies in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ...errors import brief
from ...records.guidance import GuidanceCurve, is_of
from ...records.lengths import EmaLengths
from ...records.profile import Profile
from ...records.record import Record
from ...records.verification import Tier, Verification, doubts_of, tier_of
from ...storage.schema import digest
from ..boards import Board, Row
from ..reported import Reported
from ..speedrun import History, histories, is_speedrun
from ..tables import number, quality_header
from .pictures import Picture


class Key(NamedTuple):
    """An architecture, and whose it is: two plugins may give one name."""

    name: str
    distribution: str


@dataclass(frozen=True)
class ShownTable:
    """A table as it is shown; all rows have as many cells as there are headers."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ShownStudy:
    """What many records say together, as a page shows it; `ditbench.scaling` makes it."""

    name: str
    title: str
    sentence: str
    picture: str  # SVG
    tables: Sequence[ShownTable]
    command: str

    @property
    def href(self) -> str:
        """Its picture, from the site's root."""
        return f"studies/{_safe(self.name)}.svg"


@dataclass(frozen=True, eq=False)
class Run:
    """A record, the row that it belongs to, and the name of its page."""

    record: Record
    board: Board
    row: Row
    name: str

    @property
    def href(self) -> str:
        """Its page, from the site's root."""
        return f"runs/{self.name}.html"

    @property
    def title(self) -> str:
        """What tells it from the other runs of its track."""
        return f"{self.row.label}, seed {self.record.seed}"

    @property
    def board_href(self) -> str:
        """What it has alike with all runs of its board, from the site's root."""
        return fields_of_board(self.board)

    @property
    def result(self) -> str:
        """The metric that ranks, or why there is none."""
        of = next(iter(self.record.metrics), None)
        return f"{number(of.value)} {quality_header(of)}" if of else brief(self.record.status)

    @property
    def tier(self) -> Tier:
        """Its own, not its row's."""
        return tier_of(self.record, self.row.verifications)

    @property
    def doubts(self) -> list[Verification]:
        """Those of this run."""
        return doubts_of(self.record, self.row.verifications)


@dataclass(frozen=True)
class Contents:
    """Everything that is shown. What is looked up here is the same on every page."""

    boards: Sequence[Board]
    pictures: Mapping[str, Picture] = field(default_factory=dict)  # run id -> grid of samples
    reported: Sequence[Reported] = ()
    verifications: Mapping[str, Sequence[Verification]] = field(default_factory=dict)  # run id -> who checked it
    profiles: Sequence[Profile] = ()  # that have measurements
    studies: Sequence[ShownStudy] = ()
    lengths: Mapping[str, EmaLengths] = field(default_factory=dict)  # run id -> its weights averaged otherwise
    guidance: Sequence[GuidanceCurve] = ()  # of whatever runs

    @cached_property
    def _curves(self) -> Mapping[str, list[GuidanceCurve]]:
        found: dict[str, list[GuidanceCurve]] = defaultdict(list)
        for curve in self.guidance:
            found[curve.run_id] += [curve] if curve.points else []
        return found

    def guidance_of(self, record: Record) -> GuidanceCurve | None:
        """The curve of a record's very weights."""
        return next((curve for curve in self._curves.get(record.run_id, ()) if is_of(curve, record)), None)

    @cached_property
    def runs(self) -> list[Run]:
        """All runs, board by board, row by row. Pages of equal names get the digest of their records, too."""
        placed = [(record, board, row) for board in self.boards for row in board.rows for record in row.records]
        taken = Counter(record.run_id.lower() for record, _, _ in placed)  # file systems may not know case
        return [
            Run(record, board, row, record.run_id if taken[record.run_id.lower()] == 1 else _unlike(record))
            for record, board, row in placed
        ]

    @cached_property
    def _by_row(self) -> Mapping[int, list[Run]]:
        found: dict[int, list[Run]] = defaultdict(list)
        for run in self.runs:
            found[id(run.row)].append(run)
        return found

    def runs_of(self, row: Row) -> list[Run]:
        """The runs of a row, by seed."""
        return self._by_row[id(row)]

    @cached_property
    def tracks(self) -> dict[str, list[Board]]:
        """Name -> boards: ranked ones first, the newest version first. Speedruns have a page of their own.

        Some tracks have no board: they have published numbers, or speedruns, alone.
        """
        found: dict[str, list[Board]] = {board.protocol.track: [] for board in self._ordered}
        for board in self._ordered:
            found[board.protocol.track] += [] if is_speedrun(board) else [board]
        return {**found, **{name: [] for name in sorted({of.setting.track for of in self.reported} - found.keys())}}

    @cached_property
    def _ordered(self) -> list[Board]:
        return sorted(self.boards, key=_place)

    @cached_property
    def speedruns(self) -> list[History]:
        """Of all boards."""
        return histories(self.boards)

    @cached_property
    def untried(self) -> list[str]:
        """The tracks without a run."""
        tried = {board.protocol.track for board in self.boards}
        return [name for name in self.tracks if name not in tried]

    @cached_property
    def architectures(self) -> dict[Key, list[tuple[Board, Row]]]:
        """By name, with all rows."""
        found: dict[Key, list[tuple[Board, Row]]] = defaultdict(list)
        for board in self._ordered:
            for row in board.rows:
                found[key_of(row)].append((board, row))
        return {key: found[key] for key in sorted(found)}

    @cached_property
    def _styles(self) -> dict[Key, int]:
        profiled = {Key(one.architecture.name, one.architecture.distribution) for one in self.profiles}
        ordered = [*self.architectures, *sorted(profiled - self.architectures.keys())]
        return {key: place for place, key in enumerate(ordered)}

    def style(self, row: Row) -> int:
        """The number of an architecture's colour and marker, the same on all plots."""
        return self.style_of(key_of(row))

    def style_of(self, key: Key) -> int:
        """The same, of one that may have been profiled only."""
        return self._styles[key]


def _place(board: Board) -> tuple[str, bool, int, int, int, str]:
    """Of a track's boards, those come first that say the most."""
    of = board.protocol
    return of.track, not board.ranked, -of.version, -len(board.comparable), -len(board.records), board.slug


def key_of(row: Row) -> Key:
    """The architecture of a row."""
    of = row.records[0].architecture
    return Key(of.name, of.distribution)


def variants(board: Board) -> Iterator[int]:
    """Row by row, how many rows of the same architecture stand before it: their lines and markers differ in that."""
    seen: Counter[Key] = Counter()
    for row in board.rows:
        yield seen[key_of(row)]
        seen[key_of(row)] += 1


def track_page(name: str) -> str:
    """The page of a track, from the site's root."""
    return f"tracks/{_safe(name)}.html"


def board_page(board: Board) -> str:
    """Where a board is shown, from the site's root."""
    return "speedrun.html" if is_speedrun(board) else f"{track_page(board.protocol.track)}#{board.slug}"


def fields_of_board(board: Board) -> str:
    """The script with the fields that all runs of a board have alike, from the site's root."""
    return f"boards/{board.slug}.js"


def architecture_page(key: Key) -> str:
    """The page of an architecture, from the site's root."""
    return f"architectures/{_safe(key.name)}_{_safe(key.distribution)}.html"  # `_safe` makes no underscore


_LONGEST = 80


def _safe(text: str) -> str:
    """A file's name of lower-case letters, digits, dots and dashes; a digest tells apart what that makes alike."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in text.lower())
    name = kept[:_LONGEST].strip(".-") or "unnamed"
    return name if name == text else f"{name}-{digest(text, 8)}"


def _unlike(record: Record) -> str:
    return f"{record.run_id}-{digest(record.model_dump(mode='json'), 8)}"
