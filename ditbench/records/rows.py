"""Which records are of one row: their runs differ in seed and hardware alone, and their networks do the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .fingerprint import known, unlike
from .record import Record, row_hash

_Key = tuple[str, ...]


class Alike(NamedTuple):
    """The runs of a row, on all hardware."""

    records: list[Record]
    current: bool = False  # of all networks that go by this name with these settings, it is the newest


def rows_of(records: Iterable[Record]) -> list[Alike]:
    """Records whose networks have one fingerprint; of those without one, the records of one source.

    What has no fingerprint, since it is older or did not finish, is beside what has its very source. Where that was
    two networks, as with another library beneath it, nobody knows which it was, and it is for itself.
    """
    told: dict[_Key, list[Record]] = defaultdict(list)
    untold: dict[_Key, list[Record]] = defaultdict(list)
    for record in records:
        if known(record.fingerprint):
            told[_named(record, row_hash(record, whatever_code=True))].append(record)
        else:
            untold[_by_source(record)].append(record)
    found = [one for group in told.values() for one in _by_network(group)]
    places: dict[_Key, set[int]] = defaultdict(set)
    for place, row in enumerate(found):
        for record in row.records if untold else ():
            places[_by_source(record)].add(place)
    for key, group in untold.items():
        if len(places[key]) == 1:
            found[min(places[key])].records.extend(group)
        else:
            found.append(Alike(group))
    return found


def newest_of(records: Iterable[Record]) -> Record:
    """The record made last."""
    return max(records, key=_age)


def _by_network(records: Sequence[Record]) -> list[Alike]:
    """All that does what the newest does; then, of the rest, what its newest does: small steps do not add up."""
    left, found = list(records), list[Alike]()
    while left:
        newest = newest_of(left).fingerprint
        assert newest is not None
        same, others = list[Record](), list[Record]()
        for one in left:
            (others if one.fingerprint is None or any(unlike(one.fingerprint, newest)) else same).append(one)
        found.append(Alike(same, current=not found))
        left = others
    return found


def _named(record: Record, shared: str) -> _Key:
    return record.architecture.label, record.architecture.distribution, shared


def _by_source(record: Record) -> _Key:
    of = record.architecture
    return *_named(record, row_hash(record)), of.distribution_version, of.source_sha256


def _age(record: Record) -> tuple[str, str, str]:
    """Equal for copies alone."""
    of = record.fingerprint
    return record.created.isoformat(), record.run_id, of.model_dump_json() if of else ""
