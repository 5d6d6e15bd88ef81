"""How the rows of a board are called: as the command line spells their architecture, and apart where others are so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..components import label
from ..errors import brief
from ..records.record import Record, row_hash
from ..records.rows import Alike, newest_of
from ..storage.schema import digest

_LONGEST_LABEL = 120  # characters of an architecture's label, which options of text can make as long as they like


def of_any_size(record: Record) -> str:
    """A run's architecture with its options, without its size."""
    of = record.architecture
    return label(of.name, "", of.options).replace(":", "", 1)


def labels(rows: Sequence[Alike]) -> list[str]:
    """Of all rows of a board, in their order."""
    names = [_names(newest_of(row.records), row.current) for row in rows]
    return [_told_apart(one, names) for one in names]


class _Names(NamedTuple):
    """A row's label, and what may tell it from others of that label, first what a reader knows best."""

    shown: str
    current: bool  # the newest network of that label and these settings
    apart: tuple[str, str, str, str]  # plugin, source, settings, what the network does


def _names(record: Record, current: bool) -> _Names:
    of = record.architecture
    shown, plugin = brief(of.label, _LONGEST_LABEL), f"{of.distribution} {of.distribution_version}"
    network = digest(record.fingerprint.model_dump(mode="json"), 6) if record.fingerprint else ""
    return _Names(shown, current, (plugin, of.source_sha256[:6], row_hash(record)[:6], network))


def _told_apart(names: _Names, all_names: Iterable[_Names]) -> str:
    """A row's label. Where others have it, the newest is current, and the others have their plugin and its code.

    Where these are alike, too, the hash of their settings and what they do are added.
    """
    alike = [other for other in all_names if other.shown == names.shown]
    if len(alike) == 1:
        return names.shown
    if names.current and sum(other.current for other in alike) == 1:
        return f"{names.shown} (current)"
    enough = (end for end in (2, 3) if sum(other.apart[:end] == names.apart[:end] for other in alike) == 1)
    return f"{names.shown} ({', '.join(filter(None, names.apart[: next(enough, 4)]))})"
