"""What records say of each other: that no run stands twice, that no seed is left out, and what they must agree on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice

from ...storage.schema import digest
from ..facts import Measurement
from ..files import GRID_FILE, WEIGHTS_FILE
from ..record import Record, row_hash
from ..rows import rows_of
from ..verification import Tolerance
from .faults import shown
from .tuning import trials_beside

MISSING_SEEDS = 10  # of a row that are told
ENOUGH_LOSSES = 10  # of a curve, that no two runs have in common
FLOORS = Tolerance(0.001, 0.25)  # between the same real images, measured on different machines
RecordFault = tuple[int, str]  # of which of the records


def faults_between(records: Sequence[Record], names: Sequence[str]) -> Iterator[RecordFault]:
    """All that does not hold between records, which are told by their names."""
    for check in (_twice, _copied, _seeds, _searches, _floors):
        yield from check(records, names)


def _twice(records: Sequence[Record], names: Sequence[str]) -> Iterator[RecordFault]:
    for field in ("run_id", "run_hash"):
        says = [getattr(record, field) for record in records]
        for place, first in _repeated(says):
            yield place, f"{field} is {shown(says[place])}, which {names[first]} has already"


def _repeated(values: Iterable[object]) -> Iterator[tuple[int, int]]:
    """Each place whose value stood before, and where it first did. None is no value."""
    seen: dict[object, int] = {}
    for place, value in enumerate(values):
        if value is not None and seen.setdefault(value, place) != place:
            yield place, seen[value]


def _copied(records: Sequence[Record], names: Sequence[str]) -> Iterator[RecordFault]:
    """No two runs take the same times, and no two seeds or networks give the same weights, images, losses or metrics.

    Equal weights are no copy where the same training was done twice: on a like machine, under another budget's name.
    """
    for field, of in _OF_ONE_RUN.items():
        for place, first in _repeated(map(of, records)):
            one, other = records[place], records[first]
            same_training = field != _TIMES and _trained(one) == _trained(other)
            if one.run_id != other.run_id and not same_training:
                yield place, f"{field} is {shown(of(one))}, as in {names[first]}: it is a copy of another run's"


def _weights(record: Record) -> str | None:
    return record.files.get(WEIGHTS_FILE)


def _images(record: Record) -> str | None:
    return record.sampling.images_sha256 if record.sampling else None


def _times(record: Record) -> tuple[float, ...] | None:
    return tuple(record.training.step_seconds) if record.training else None


def _picture(record: Record) -> str | None:
    return record.files.get(GRID_FILE)


def _losses(record: Record) -> tuple[float, ...] | None:
    """None of a short run: networks that begin by putting out nothing have the same losses at first."""
    losses = tuple(point.loss for point in record.training.curve) if record.training else ()
    return losses if len(losses) >= ENOUGH_LOSSES else None


def _numbers(record: Record) -> str | None:
    """What the metric that ranks follows from, if these are fractions: no other sample gives just those."""
    raw = record.metrics[0].raw if record.metrics else {}
    fractions = {number for numbers in raw.values() for number in numbers if number != int(number)}
    return digest(raw) if len(fractions) > 1 else None


_TIMES = "training.step_seconds"
_OF_ONE_RUN: dict[str, Callable[[Record], object]] = {
    f"files.{WEIGHTS_FILE}": _weights,
    "sampling.images_sha256": _images,
    f"files.{GRID_FILE}": _picture,
    "training.curve": _losses,
    "metrics.0.raw": _numbers,
    _TIMES: _times,
}


def _trained(record: Record) -> str:
    """What was trained, on what, and from which seed."""
    network = record.architecture.model_dump(include={"name", "size", "options", "settings"})
    return digest([network, record.data_sha256, record.seed])


def _seeds(records: Sequence[Record], names: Sequence[str]) -> Iterator[RecordFault]:
    place_of = {id(record): place for place, record in enumerate(records)}
    for row in rows_by_hardware(records):
        for seed in missing_seeds(row):
            words = f"seed {seed} is missing: a row's seeds count from 0, so that none can be left out"
            yield place_of[id(row[0])], words


def _searches(records: Sequence[Record], names: Sequence[str]) -> Iterator[RecordFault]:
    """A row has one search, and says of a trial what that says of itself where it lies beside."""
    place_of = {id(record): place for place, record in enumerate(records)}
    for row in rows_by_hardware(records):
        for other in row[1:]:
            if other.study != row[0].study:
                yield place_of[id(other)], f"study is another than in {names[place_of[id(row[0])]]}: a row has one"
    trials = {record.run_id: record for record in records if record.ruleset == "trial"}
    for place, record in enumerate(records):
        yield from ((place, fault) for fault in trials_beside(record, trials))


def _floors(records: Sequence[Record], names: Sequence[str]) -> Iterator[RecordFault]:
    """What the same real images score does not depend on the run."""
    first: dict[tuple[str | None, ...], tuple[int, Measurement]] = {}
    for place, record in enumerate(records):
        for i, floor in enumerate([] if record.deviations else record.floors):
            of = (record.track_hash, record.data_sha256, record.reference_sha256, floor.protocol, floor.features_sha256)
            told, same = first.setdefault(of, (place, floor))
            if abs(floor.value - same.value) > FLOORS.allows(same, floor):
                yield place, f"floors.{i}.value is {floor.value}, should be about {same.value}, as in {names[told]}"


def rows_by_hardware(records: Sequence[Record]) -> list[list[Record]]:
    """The runs of each row: alike in all but the seed, on one class of hardware. Trials of a search are in none.

    A run that failed without saying where counts in every row that it can be of; what describes no run is in none.
    """
    found: list[dict[str, list[Record]]] = []
    for alike in rows_of([record for record in records if record.ruleset != "trial" and row_hash(record)]):
        found.append(defaultdict(list))
        for record in alike.records:
            found[-1][record.hardware].append(record)
    return [row for rows in found for row in _with_strays(rows)]


def _with_strays(rows: dict[str, list[Record]]) -> list[list[Record]]:
    strays = rows.pop("", [])
    return [[*row, *strays] for row in rows.values()] or [strays]


def missing_seeds(row: Sequence[Record]) -> list[int]:
    """The first seeds from 0 on that a row lacks below its highest. Failed and diverged runs have theirs."""
    seeds = {record.seed for record in row}
    missing = (seed for seed in count() if seed not in seeds)
    return list(islice(missing, min(max(seeds) + 1 - len(seeds), MISSING_SEEDS)))
