"""The page of an architecture: its paper, its options and sizes as the records have them, and all its rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ...components import Value, spell
from ...errors import brief
from ...records.record import Record
from ..boards import Board, Row
from ..costs import MACS, PARAMETERS, TRAINING_MACS
from ..tables import interval, measurements, name, number, quality_header
from .contents import Contents, Key, Run, board_page

_LONGEST = 200  # characters of an option and of a value
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5}(v\d{1,2})?)")


@dataclass(frozen=True)
class SizeView:
    """What a choice of size and options costs on a track's input."""

    label: str
    track: str
    input: str
    costs: Sequence[str]


@dataclass(frozen=True)
class RowView:
    """A row of a board."""

    board: Board
    href: str
    row: Row
    name: str
    rank: str
    protocol: str
    quality: str
    runs: Sequence[Run]


@dataclass(frozen=True)
class ArchitectureView:
    """All that a page shows of an architecture."""

    key: Key
    style: int
    papers: Sequence[tuple[str, str]]  # as the plugin names it, and its address, if it has one that can be trusted
    versions: Sequence[tuple[str, str]]
    options: Sequence[tuple[str, str]]
    sizes: Sequence[SizeView]
    standings: Sequence[RowView]


def view(contents: Contents, key: Key) -> ArchitectureView:
    """An architecture as its page shows it: only what records say of it."""
    placed = contents.architectures[key]
    records = [record for _, row in placed for record in row.records]
    facts = [record.architecture for record in records]
    return ArchitectureView(
        key,
        contents.style(placed[0][1]),
        [(paper, paper_address(paper)) for paper in sorted({of.paper for of in facts if of.paper})],
        sorted({(of.distribution_version, of.source_sha256) for of in facts}),
        _options(records),
        _sizes(records),
        [_standing(contents, board, row) for board, row in placed],
    )


def paper_address(paper: str) -> str:
    """Where arXiv has it; empty for what is no number of arXiv's: a record's own address is not to be trusted."""
    match = _ARXIV.fullmatch(paper)
    return f"https://arxiv.org/abs/{match[1]}" if match else ""


def _options(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Everything that networks were built with, and the values seen."""
    seen: dict[str, list[Value | None]] = defaultdict(list)
    for record in records:
        for option, value in record.architecture.settings.items():
            seen[option].append(value)
    told = {option: ", ".join(sorted(set(map(_spelled, values)))) for option, values in seen.items()}
    return [(brief(option, _LONGEST), told[option]) for option in sorted(told)]


def _spelled(value: Value | None) -> str:
    return "—" if value is None else brief(spell(value), _LONGEST)


def _sizes(records: Sequence[Record]) -> list[SizeView]:
    found = {}
    for record in records:
        if record.cost is not None and record.data is not None:
            *frames, channels, height, width = record.data.shape
            costs = [number((of.read(record) or 0) / of.scale) for of in (PARAMETERS, MACS, TRAINING_MACS)]
            size = SizeView(
                record.architecture.label,
                record.track.name,
                "×".join(map(str, (*frames, height, width, channels))),
                costs,
            )
            found[size.track, size.label, size.input, *costs] = size
    return [found[key] for key in sorted(found)]


def _standing(contents: Contents, board: Board, row: Row) -> RowView:
    first = measurements(board)[:1]
    quality = [interval(row.quality[of.protocol]) for of in first if of.protocol in row.quality]
    return RowView(
        board,
        board_page(board),
        row,
        name(row, board),
        "" if row.rank is None else f"{row.rank}{' (tie)' if row.tied else ''}",
        " ".join(quality_header(of) for of in first),
        "".join(quality),
        contents.runs_of(row),
    )
