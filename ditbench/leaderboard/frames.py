"""The leaderboard for pandas: a line for each record, and one for each row of a board; columns that say what they are.

Numbers are unrounded, in plain units. CSV, Parquet and Croissant are made of the same two tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import pandas as pd

from ..components import spell
from ..errors import BadFile
from ..records.facts import Measurement
from ..records.record import Record
from ..records.verification import tier_of
from .boards import Board, Row
from .costs import FACTS, RARE, Fact
from .export import quality_of
from .protocol import told_apart
from .speeds import RATES, Rate

Kind = Literal["text", "whole", "number", "flag", "time"]
Of = TypeVar("Of")
_DTYPES = {"text": "str", "whole": "Int64", "number": "float64", "flag": "boolean", "time": "str"}
_LARGEST = 2**63  # of a whole number in a table


@dataclass(frozen=True)
class Field(Generic[Of]):
    """A column: its name, the kind of its cells, what it is in words, and how a cell is read."""

    name: str
    kind: Kind
    says: str
    read: Callable[[Of], Any]


@dataclass(frozen=True)
class Table:
    """One of the two tables, with its columns in words."""

    name: str
    says: str
    frame: pd.DataFrame
    fields: tuple[Field[Any], ...]
    key: tuple[str, ...]  # the columns that tell its lines apart


Run = tuple[Board, Row, Record]
Line = tuple[Board, Row]


def _options(record: Record) -> str:
    return " ".join(f"{key}={spell(value)}" for key, value in sorted(record.architecture.options.items()))


def _architecture(row: Row) -> str:
    return row.records[0].architecture.label


_ROW = "name of the row on its board: the architecture, told apart where two are called alike"
_OF_BOARDS: tuple[Field[Board], ...] = (
    Field("board", "text", "name of the board, as files and anchors have it", lambda board: board.slug),
    Field("track", "text", "track", lambda board: board.protocol.track),
    Field("track_version", "whole", "version of the track", lambda board: board.protocol.version),
    Field("track_hash", "text", "hash of the track", lambda board: board.protocol.track_hash),
    Field("budget", "text", "budget of training", lambda board: board.protocol.budget),
    Field(
        "deviations", "text", "why it has no ranks; empty: it has", lambda board: "; ".join(board.protocol.deviations)
    ),
    Field("data_sha256", "text", "sha256 of the training data", lambda board: board.protocol.data),
    Field(
        "reference_sha256", "text", "sha256 of what samples are compared with", lambda board: board.protocol.reference
    ),
)
_OF_RECORDS: tuple[Field[Record], ...] = (
    Field("architecture", "text", "architecture as the command line spells it", lambda of: of.architecture.label),
    Field("name", "text", "name of the architecture", lambda of: of.architecture.name),
    Field("size", "text", "its size", lambda of: of.architecture.size),
    Field("options", "text", "its options that were changed", _options),
    Field("trained_with", "text", "outside networks in its loss", lambda of: " ".join(of.architecture.trained_with)),
    Field("distribution", "text", "distribution of its plugin", lambda of: of.architecture.distribution),
    Field("distribution_version", "text", "version of that", lambda of: of.architecture.distribution_version),
    Field("source_sha256", "text", "sha256 of its plugin's source", lambda of: of.architecture.source_sha256),
    Field("ruleset", "text", "ruleset, with outside networks if any", lambda of: told_apart(of.ruleset, of)),
    Field("seed", "whole", "seed of training", lambda of: of.seed),
    Field("device", "text", "device", lambda of: of.device),
    Field("parallel", "whole", "runs at a time on the machine", lambda of: of.environment and of.environment.parallel),
    Field("ditbench", "text", "version of ditbench", lambda of: of.environment and of.environment.ditbench),
    Field("git_commit", "text", "commit of its code", lambda of: of.environment and of.environment.git_commit),
    Field("torch", "text", "version of torch", lambda of: of.environment and of.environment.torch),
    Field("created", "time", "when the record was written (ISO 8601)", lambda of: of.created.isoformat()),
    Field("status", "text", "finished, failed, diverged or interrupted", lambda of: of.status),
    Field("reason", "text", "why it did not finish", lambda of: of.reason or ""),
    Field("run_id", "text", "name of the run", lambda of: of.run_id),
    Field("run_hash", "text", "hash of all that decides the run", lambda of: of.run_hash),
    Field("record_sha256", "text", "sha256 that seals the record", lambda of: of.sha256 or ""),
)
_OF_ROWS: tuple[Field[Row], ...] = (
    Field("row", "text", _ROW, lambda row: row.label),
    Field("architecture", "text", "architecture as the command line spells it", _architecture),
    Field("ruleset", "text", "ruleset, with outside networks if any", lambda row: _ruleset(row.records[0])),
    Field("hardware", "text", "class of hardware", lambda row: row.hardware),
    Field("rank", "whole", "rank on the board; empty: it has none", lambda row: row.rank),
    Field("tied", "flag", "whether others share the rank", lambda row: row.tied),
    Field("provisional", "text", "why it has no rank yet; empty: it has", lambda row: row.provisional),
    Field("tier", "text", "who has checked it", lambda row: row.tier),
    Field("status", "text", "what a reader must know of its runs", lambda row: row.status),
    Field("remark", "text", "what else is to be known", lambda row: row.remark),
    Field("seeds", "text", "seeds of its runs that count", lambda row: " ".join(map(str, sorted(row.seeds)))),
    Field("finished", "whole", "runs that finished", lambda row: len(row.finished)),
)


def tables_of(boards: Sequence[Board]) -> tuple[Table, Table]:
    """The records' table, and that of the boards' rows. `BadFile` if a whole number of a record has over 64 bits."""
    return _records(boards), _rows(boards)


def _records(boards: Sequence[Board]) -> Table:
    runs = [(board, row, record) for board in boards for row in board.rows for record in row.records]
    found = [record for _, _, record in runs]
    fields: tuple[Field[Run], ...] = (
        *(_within(field, lambda run: run[0]) for field in _OF_BOARDS),
        Field("row", "text", _ROW, lambda run: run[1].label),
        Field("hardware", "text", "class of hardware of its row", lambda run: run[1].hardware),
        *(_within(field, lambda run: run[2]) for field in _OF_RECORDS),
        Field("tier", "text", "who has checked it", lambda run: tier_of(run[2], run[1].verifications)),
        *(_measured(of) for of in _protocols(one for record in found for one in record.metrics)),
        *(_raw(of) for of in _protocols(one for record in found for one in (record.raw.metrics if record.raw else ()))),
        *(_cost(fact) for fact in (*FACTS, *RARE)),
    )
    return _table("records", "A line for each run: what it was, what was measured of it, what it cost.", runs, fields)


def _rows(boards: Sequence[Board]) -> Table:
    lines = [(board, row) for board in boards for row in board.rows]
    fields: tuple[Field[Line], ...] = (
        *(_within(field, lambda line: line[0]) for field in _OF_BOARDS),
        Field("title", "text", "title of the board", lambda line: line[0].title),
        *(_within(field, lambda line: line[1]) for field in _OF_ROWS),
        *(part for of in _protocols(one for _, row in lines for one in row.measurements) for part in _estimated(of)),
        *(_mean(fact) for fact in (*FACTS, *RARE)),
        *(_rate(rate) for rate in RATES),
    )
    return _table("boards", "A line for each row of a board, over its seeds, with its rank.", lines, fields)


def _table(name: str, says: str, lines: Sequence[Of], fields: Sequence[Field[Of]]) -> Table:
    """Without the columns of costs and speeds that nobody has anything for."""
    columns = {field.name: (field, [field.read(line) for line in lines]) for field in fields}
    kept = {
        name: of for name, of in columns.items() if of[0].kind != "number" or any(cell is not None for cell in of[1])
    }
    frame = pd.DataFrame({name: _series(field, cells) for name, (field, cells) in kept.items()})
    key = ("board", "run_id") if name == "records" else ("board", "row", "hardware")
    return Table(name, says, frame, tuple(field for field, _ in kept.values()), key)


def _series(field: Field[Any], cells: Sequence[Any]) -> pd.Series[Any]:
    if field.kind == "whole" and any(abs(cell) >= _LARGEST for cell in cells if cell is not None):
        raise BadFile(f"A record's {field.name} has more than 64 bits, which no table holds: leave that record out.")
    return pd.Series(cells, dtype=_DTYPES[field.kind])


def _within(field: Field[Any], part: Callable[[Any], Any]) -> Field[Any]:
    """A field of a part of a line."""
    return Field(field.name, field.kind, field.says, lambda line: field.read(part(line)))


def _protocols(measured: Iterable[Measurement]) -> list[Measurement]:
    """The first measurement of each full name, in their order."""
    return list({one.protocol: one for one in reversed(list(measured))}.values())[::-1]


def _way(of: Measurement) -> str:
    return f"{of.metric} of {of.samples:,} samples, {'higher' if of.higher_is_better else 'lower'} is better"


def _measured(of: Measurement) -> Field[Run]:
    return Field(of.protocol, "number", _way(of), partial(_value, of.protocol))


def _value(protocol: str, run: Run) -> float | None:
    return next((one.value for one in run[2].metrics if one.protocol == protocol), None)


def _raw(of: Measurement) -> Field[Run]:
    return Field(
        f"{of.protocol}:raw", "number", f"{_way(of)}; of weights that are not averaged", partial(_raw_value, of)
    )


def _raw_value(of: Measurement, run: Run) -> float | None:
    found = run[2].raw.metrics if run[2].raw else ()
    return next((one.value for one in found if one.protocol == of.protocol), None)


_ESTIMATED = {
    "mean": "mean over the seeds",
    "low": "lower end of the 95 % t-interval",
    "high": "upper end of the 95 % t-interval",
    "sd": "standard deviation over the seeds",
}


def _estimated(of: Measurement) -> Iterable[Field[Line]]:
    for part, says in _ESTIMATED.items():
        name = of.protocol if part == "mean" else f"{of.protocol}:{part}"
        yield Field(name, "number", f"{_way(of)}: {says}", partial(_estimate, of.protocol, part))


def _estimate(protocol: str, part: str, line: Line) -> float | None:
    found: float | None = quality_of(line[1], protocol)[part] if protocol in line[1].quality else None
    return found


def _cost(fact: Fact) -> Field[Run]:
    read = partial(_spent, fact)
    return Field(fact.key, "number", _plain(fact.key), read)


def _spent(fact: Fact, run: Run) -> float | None:
    found = fact.read(run[2]) if run[2].status == "finished" else None
    return None if found is None else float(found)


def _mean(fact: Fact) -> Field[Line]:
    return Field(fact.key, "number", f"{_plain(fact.key)}, mean over the seeds", partial(_mean_of, fact))


def _mean_of(fact: Fact, line: Line) -> float | None:
    found = fact.estimate(line[1]) if line[1].finished else None
    return None if found is None else found.mean


def _rate(rate: Rate) -> Field[Line]:
    return Field(rate.key, "number", f"{_plain(rate.key)}, measured alone", lambda line: rate.of(line[1]))


def _plain(key: str) -> str:
    return key.replace("_", " ")


def _ruleset(record: Record) -> str:
    return told_apart(record.ruleset, record)
