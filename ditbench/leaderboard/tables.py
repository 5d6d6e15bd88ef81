"""A board as a table: a row per architecture, every number with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pandas as pd

from ..errors import demand
from ..records.facts import Measurement
from ..records.record import Record
from .boards import Board, Row, boards
from .costs import (
    FLOPS,
    IMAGES,
    MACS,
    OUTSIDE_MACS,
    PARAMETERS,
    PEAK_MEMORY,
    SEARCH_FLOPS,
    SECONDS,
    TRAINING_MACS,
    Fact,
)
from .intervals import Estimate
from .learning_curves import Reached, reached
from .protocol import Clock
from .speeds import RATES, Rate

ColumnKind = Literal["head", "tier", "quality", "raw", "spent", "target", "speed", "size", "status"]
CellValue = str | Estimate | None  # None: not known, or not to be had on this hardware


@dataclass(frozen=True)
class Column:
    """One column of a board's table."""

    subject: str  # what it is about
    kind: ColumnKind
    cell: Callable[[Row], CellValue]
    where: str = ""  # its numbers were measured, if each such place has a column of the subject
    higher_is_better: bool = False

    @property
    def header(self) -> str:
        """What stands above it, and no other column of the board has."""
        return f"{self.subject} ({self.where})" if self.where else self.subject

    def text(self, row: Row) -> str:
        """The cell as a person reads it."""
        cell = self.cell(row)
        if isinstance(cell, Estimate):
            return interval(cell) if self.kind in ("quality", "raw") else span(cell)
        return cell or ""

    def texts(self, rows: Sequence[Row]) -> list[str]:
        """All cells as a person reads them below each other: with as many decimals as the one that has most."""
        cells, told = [self.cell(row) for row in rows], [self.text(row) for row in rows]
        pairs = list(zip(cells, told, strict=True))
        decimals = [len(_mean(text).partition(".")[2]) for cell, text in pairs if isinstance(cell, Estimate)]
        most = max(decimals, default=0)
        return [_to(cell, text, most) if isinstance(cell, Estimate) else text for cell, text in pairs]


def _mean(text: str) -> str:
    return text.partition(" ")[0]


def _to(cell: Estimate, text: str, decimals: int) -> str:
    """A cell's text with so many decimals; an interval stays one."""
    _, sign, half = text.partition(" ± ")
    told = f" ± {cell.half_width or 0:,.{decimals}f}" if sign else ""
    return f"{cell.mean:,.{decimals}f}{told if half != '0' else ' ± 0'}"


_UNMEASURED = "—"  # a speed that others on the board have
_TIMES = ((1.0, "s"), (3600.0, "h"))  # the unit is the board's: the largest that leaves its largest number above 2
_FLOPS = ((1e12, "TFLOPs"), (1e15, "PFLOPs"), (1e18, "EFLOPs"))


def table(board: Board) -> pd.DataFrame:
    """Text cells: a row per architecture, a column per full protocol name."""
    return pd.DataFrame({column.header: list(map(column.text, board.rows)) for column in columns(board)})


def tables(records: Iterable[Record]) -> dict[str, pd.DataFrame]:
    """Title -> table of numbers, for each board that the records make: what does not compare never shares one.

    A number is the mean over seeds. Behind it, in a column of its own whose name ends with " ±", is half the width of
    its 95 % interval, where that is known and not 0. What is not known is missing: NaN, or `pd.NA` for a rank.
    """
    demand("records", records, Iterable)
    found = list(records)
    for record in found:
        demand("records", record, Record)
    return {board.title: _numbers(board) for board in boards(found)}


def _numbers(board: Board) -> pd.DataFrame:
    """A row per architecture, with numbers as numbers."""
    whole = {"rank": [row.rank for row in board.rows], "seeds": [_done(row) for row in board.rows]}
    found: dict[str, pd.Series[Any]] = {}
    for column in columns(board):
        cells = [column.cell(row) for row in board.rows]
        if column.header in whole:
            found[column.header] = pd.Series(whole[column.header], dtype="Int64")
        elif column.kind in ("head", "tier", "status"):
            found[column.header] = pd.Series(cells, dtype="str")
        else:
            found |= _measured(column.header, [cell if isinstance(cell, Estimate) else None for cell in cells])
    return pd.DataFrame(found)


def _measured(header: str, cells: Sequence[Estimate | None]) -> dict[str, pd.Series[Any]]:
    """The means, and half the widths of their intervals if any is known."""
    halves = pd.Series([None if cell is None else cell.half_width for cell in cells], dtype="float64")
    means = pd.Series([None if cell is None else cell.mean for cell in cells], dtype="float64")
    return {header: means} | ({f"{header} ±": halves} if halves.fillna(0).any() else {})


def columns(board: Board) -> list[Column]:
    """The columns of a board, without those that nobody has anything for."""
    found = [*_head(board), *_quality(board), *_costs(board), Column("status", "status", _status(board))]
    always = ("head", "tier", "status")
    return [column for column in found if column.kind in always or any(_known(column.cell(row)) for row in board.rows)]


def _known(cell: CellValue) -> bool:
    return bool(cell) and cell != _UNMEASURED


def _head(board: Board) -> Iterator[Column]:
    yield Column("rank", "head", lambda row: "" if row.rank is None else f"{row.rank}{' (tie)' if row.tied else ''}")
    yield Column("architecture", "head", lambda row: f"{row.label} *" if row.remark else row.label)
    yield Column("seeds", "head", _seeds)
    yield Column("tier", "tier", lambda row: row.tier)
    if len(board.hardware) > 1:
        yield Column("hardware", "head", lambda row: row.hardware)


def _done(row: Row) -> int:
    return len({record.seed for record in row.finished})


def _seeds(row: Row) -> str:
    done = _done(row)
    return str(done) if done == len(row.seeds) else f"{done} of {len(row.seeds)}"


def _quality(board: Board) -> Iterator[Column]:
    found = measurements(board)
    for of in found:
        cell = partial(_estimate, of.protocol)
        yield Column(quality_header(of), "quality", cell, higher_is_better=of.higher_is_better)
    for of in found[:1]:
        header = f"raw weights' {quality_header(of)}"
        yield Column(header, "raw", raw_weights, higher_is_better=of.higher_is_better)


def _estimate(protocol: str, row: Row) -> Estimate | None:
    return row.quality.get(protocol)


def raw_weights(row: Row) -> Estimate | None:
    """The metric that ranks, of the weights as training left them, if that was measured for every seed."""
    raw = [record.raw.metrics if record.raw else [] for record in row.finished]
    return Estimate(tuple(metrics[0].value for metrics in raw)) if raw and all(raw) else None


def _costs(board: Board) -> Iterator[Column]:
    several = len(board.hardware) > 1
    clocks = [(clock, clock.told(several)) for clock in board.clocks]
    second, time = _unit(board, SECONDS, _TIMES)
    flop, work = _unit(board, FLOPS, _FLOPS)
    goal = target(board)
    yield Column("images", "spent", _scaled(IMAGES, 1))
    for clock, told in clocks:
        yield Column(f"train {time}", "spent", _scaled(SECONDS, second, clock), told)
    yield Column(work, "spent", _scaled(FLOPS, flop))
    yield Column(f"search {work}", "spent", _scaled(SEARCH_FLOPS, flop))
    for clock, told in clocks if goal else ():
        yield Column(f"{time} to {goal}", "target", _to_target(board, "seconds", second, clock), told)
    if goal:
        yield Column(f"{work} to {goal}", "target", _to_target(board, "flops", flop))
    places = [(hardware, hardware if several else "") for hardware in board.hardware]
    for rate in RATES:
        for hardware, told in places:
            yield Column(rate.header, "speed", _alone(rate, hardware), told, higher_is_better=True)
    for hardware, told in places:
        yield Column(PEAK_MEMORY.header, "speed", _memory(hardware), told)
    for fact in (PARAMETERS, MACS, TRAINING_MACS, OUTSIDE_MACS):
        yield Column(fact.header, "size", _scaled(fact, fact.scale))


def _unit(board: Board, fact: Fact, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    largest = max((found.mean for row in board.rows if (found := fact.estimate(row))), default=0.0)
    return max((unit for unit in units if largest > 2 * unit[0]), default=units[0])


def _scaled(fact: Fact, scale: float, clock: Clock | None = None) -> Callable[[Row], CellValue]:
    def cell(row: Row) -> CellValue:
        return _over(fact.estimate(row.by(clock) if clock else row), scale)

    return cell


def _alone(rate: Rate, hardware: str) -> Callable[[Row], CellValue]:
    return lambda row: (rate.estimate(row) or _UNMEASURED) if row.hardware == hardware else None


def _memory(hardware: str) -> Callable[[Row], CellValue]:
    return lambda row: _over(PEAK_MEMORY.estimate(row), PEAK_MEMORY.scale) if row.hardware == hardware else None


def _to_target(
    board: Board, spent: Literal["seconds", "flops"], scale: float, clock: Clock | None = None
) -> Callable[[Row], CellValue]:
    def cell(row: Row) -> CellValue:
        got = reached(row.by(clock) if clock else row, board)
        if got is None or got.whole:
            return _over(_spent(got, spent), scale)
        return got.count

    return cell


def _spent(got: Reached | None, spent: Literal["seconds", "flops"]) -> Estimate | None:
    if got is None:
        return None
    return got.seconds if spent == "seconds" else got.flops


def _over(of: Estimate | None, scale: float) -> Estimate | None:
    return None if of is None else Estimate(tuple(value / scale for value in of.values))


def _status(board: Board) -> Callable[[Row], str]:
    if board.ranked:
        return lambda row: row.status
    return lambda row: "; ".join(filter(None, (row.misses, row.paused, row.set_back))) or "finished"


def measurements(board: Board) -> Sequence[Measurement]:
    """What was measured of the board's runs, the metric that ranks first."""
    return next((row.measurements for row in board.rows if row.measurements), ())


def target(board: Board) -> str:
    """The quality that counts as reached, e.g. ``fid1k ≤ 2``; empty if the track names none."""
    if board.target is None or not measurements(board):
        return ""
    of = measurements(board)[0]
    return f"{of.protocol.partition('/')[0]} {'≥' if of.higher_is_better else '≤'} {board.target:g}"


def name(row: Row, board: Board) -> str:
    """The row's label, and its hardware where another row has that label."""
    labels = [other.label for other in board.rows]
    return row.label if labels.count(row.label) == 1 else f"{row.label} on {row.hardware}"


def quality_header(of: Measurement) -> str:
    """A metric's full name, and which way is better."""
    return f"{of.protocol} {'↑' if of.higher_is_better else '↓'}"


def interval(of: Estimate) -> str:
    """The mean; with several seeds also half the width of its 95 % interval, to two digits, and the mean no further."""
    half = of.half_width
    if not half:
        return number(of.mean) + (" ± 0" if half == 0 else "")
    decimals = min(_decimals(of.mean, 4), _decimals(half, 2))
    if round(half, decimals) == 0:
        decimals = _decimals(half, 2)
    return f"{of.mean:,.{decimals}f} ± {half:,.{decimals}f}"


def span(of: Estimate) -> str:
    """A cost: the mean, and in brackets the least and the most of the seeds, where they show in four digits.

    No interval: seeds do not make a time or a speed vary, machines do; and half a t-interval can exceed a mean that
    can't be negative.
    """
    decimals = _decimals(of.mean, 4)
    mean, least, most = (f"{value:,.{decimals}f}" for value in (of.mean, min(of.values), max(of.values)))
    return mean if least == most else f"{mean} ({least}–{most})"


def number(value: float) -> str:
    """Four significant digits, at most six decimals, never in exponent form."""
    return f"{value:,.{_decimals(value, 4)}f}"


def _decimals(value: float, digits: int) -> int:
    """That show so many significant digits; six at the most."""
    exponent = int(f"{value:e}".partition("e")[2])
    return min(max(0, digits - 1 - exponent), 6)
