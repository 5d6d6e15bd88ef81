"""The page of speedruns: the history of each track and class of hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import brief
from ..speedrun import Entry, History
from .contents import Contents, Run


@dataclass(frozen=True)
class EntryLine:
    """An entry as a row of the table."""

    entry: Entry
    day: str
    who: str
    changed: str
    differs: str
    runs: Sequence[Run]


@dataclass(frozen=True)
class SpeedrunView:
    """A history as its page shows it."""

    history: History
    title: str
    targets: str
    protocols: Sequence[str]
    lines: Sequence[EntryLine]
    others: Sequence[EntryLine]


def views(contents: Contents) -> list[SpeedrunView]:
    """What the page shows, a part for each history."""
    return [_view(contents, history) for history in contents.speedruns]


def _view(contents: Contents, history: History) -> SpeedrunView:
    return SpeedrunView(
        history,
        brief(history.course.title),
        " and ".join(history.targets),
        [one.of.protocol for entry in history.entries[:1] for one in entry.reached],
        [_line(contents, entry) for entry in reversed(history.entries)],
        [_line(contents, entry) for entry in reversed(history.others)],
    )


def _line(contents: Contents, entry: Entry) -> EntryLine:
    return EntryLine(
        entry,
        entry.when.date().isoformat(),
        brief(entry.who),
        brief(entry.first.changed),
        brief(entry.differs, 1000),
        contents.runs_of(entry.row),
    )
