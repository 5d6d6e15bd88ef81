"""Boards and runs to plots: compact JSON that static/plots.js hands to plotly, every text of it escaped.

A chart has choices of x and of y, and series with numbers for some of the choices:

    {"x": [{"key", "label", "log", "positive"}], "y": [the same, and "target"],
     "series": [{"name", "style", "variant", "mode", "x": {key: [...]}, "y": {key: [...]}, "dy": {...}, "dx": {...},
                 "range": {x-key: [least, most]}, "labels": {"of", "texts": [of each point]}}],
     "fronts": {"x-key y-key": [places of series]}}

A series without numbers for a choice is not drawn in it: so no time of one class of hardware meets another's, and none
that was measured beside other runs one that was not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from ...records.facts import CurvePoint
from ..boards import Board, Row
from ..costs import MACS, PARAMETERS, PEAK_MEMORY, Fact
from ..intervals import Estimate
from ..learning_curves import RowPoint, row_course
from ..protocol import Clock
from ..speeds import RATES, Rate
from ..tables import measurements, name, quality_header
from .contents import Contents, Run, variants

Chart = dict[str, Any]
_BINS, _SHOWN = 40, 0.99  # of a histogram of step times; the slowest are told, not drawn
_POINTS = 40  # of a loss curve: a plot is some 500 pixels wide, and a page has dozens of curves
_WIDE = 20  # times the smallest number: axes that span more are logarithmic at first


class Axis(NamedTuple):
    """What is on x: a number of every row, or of those on one class of hardware."""

    key: str
    label: str
    fact: Fact | Rate
    hardware: str | None = None

    def estimate(self, row: Row) -> Estimate | None:
        """None: the row has no such number."""
        return self.fact.estimate(row) if self.hardware in (None, row.hardware) else None


def learning(contents: Contents, board: Board) -> Chart | None:
    """Each metric against training images, seconds and FLOPs: a row's mean over its seeds, with the interval.

    None: no row was measured on the way.
    """
    series = [
        {**look_of(contents, board, row, variant, "lines+markers"), **course}
        for row, variant in zip(board.rows, variants(board), strict=True)
        if (course := _course(board, row))
    ]
    return make_chart(_amounts(board), _metrics(board), series) if series else None


def losses(contents: Contents, board: Board, runs: Sequence[Run]) -> Chart | None:
    """The loss of runs of a board, against the same. None: none of them has a curve."""
    looks = dict(zip(map(id, board.rows), variants(board), strict=True))
    series = [
        {**look_of(contents, board, run.row, looks[id(run.row)], "lines"), **loss}
        for run in runs
        if (loss := _loss(run))
    ]
    return make_chart(_amounts(board), [{"key": "loss", "label": "training loss"}], series) if series else None


def pareto(contents: Contents, board: Board) -> Chart | None:
    """Each metric against what it costs, and the ranked rows that no other beats in both. None: nothing measured."""
    rows = [(row, variant) for row, variant in zip(board.rows, variants(board), strict=True) if row.quality]
    if not rows:
        return None
    axes = _axes(board)
    series = [{**look_of(contents, board, row, variant, "markers"), **_standing(row, axes)} for row, variant in rows]
    best = max(axes, key=lambda axis: _separates(series, axis))
    axes = [best, *(axis for axis in axes if axis is not best)]  # the first is what a page shows at first
    metrics = _metrics(board)
    ranked = {id(row) for row in board.comparable}
    able = [id(row) in ranked for row, _ in rows]
    fronts = {f"{x.key} {y['key']}": _front_of(series, able, x, y) for x in axes for y in metrics}
    return {**make_chart([{"key": axis.key, "label": axis.label} for axis in axes], metrics, series), "fronts": fronts}


def _separates(series: Sequence[Chart], axis: Axis) -> tuple[int, float]:
    """How well a cost sets rows apart: how many rows have it, and how many times the least the most is."""
    values = [said["x"][axis.key][0] for said in series if axis.key in said["x"]]
    times = max(values) / min(values) if values and min(values) > 0 else 0.0
    return len(values), compact(times, 2)


def _front_of(series: Sequence[Chart], able: Sequence[bool], x: Axis, y: Chart) -> list[int]:
    """Of the ranked rows alone: means of too few seeds, or of the runs that survived, prove nothing."""
    points = [
        (said["x"].get(x.key, [None])[0] if counts else None, said["y"][y["key"]][0])
        for said, counts in zip(series, able, strict=True)
    ]
    return front(points, isinstance(x.fact, Rate), y["higher"])


def front(points: Sequence[tuple[float | None, float]], higher_x: bool, higher_y: bool) -> list[int]:
    """The places of the points that no other is as good as in both numbers, along x; of equal ones, the first."""
    signed = [
        (x * (-1 if higher_x else 1), y * (-1 if higher_y else 1), place)
        for place, (x, y) in enumerate(points)
        if x is not None
    ]
    found: list[int] = []
    best = math.inf
    for _, y, place in sorted(signed):
        if y < best:
            best = y
            found.append(place)
    return found


def step_times(contents: Contents, run: Run) -> Chart | None:
    """How many steps took how long. None: the run has no times."""
    training = run.record.training
    if training is None:
        return None
    times = sorted(1000 * seconds for seconds in training.step_seconds)
    shown = times[: 1 + int(_SHOWN * (len(times) - 1))]
    low, width = shown[0], (shown[-1] - shown[0]) / _BINS or shown[0] / _BINS or 1.0
    counts = Counter(min(int((time - low) / width), _BINS - 1) for time in shown)
    centers = [compact(low + width * (place + 0.5)) for place in range(_BINS)]
    steps = [counts[place] for place in range(_BINS)]
    look = {"mode": "bars", "style": contents.style(run.row), "width": compact(width)}
    bars = {**look, "x": {"ms": centers}, "y": {"steps": steps}}
    return make_chart([{"key": "ms", "label": "milliseconds per step"}], [{"key": "steps", "label": "steps"}], [bars])


def compact(value: float, digits: int = 5) -> float | int:
    """A number rounded to significant digits, which halves the JSON of a plot."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def make_chart(x: Sequence[Chart], y: Sequence[Chart], series: Sequence[Chart]) -> Chart:
    """A chart, with how its axes look at first; what no series has a number for is no choice."""
    found: Chart = {"series": list(series)}
    for axis, choices in (("x", x), ("y", y)):
        numbers = {of["key"]: [v for said in series for v in said[axis].get(of["key"], ())] for of in choices}
        found[axis] = [{**of, **_scale(numbers[of["key"]])} for of in choices if numbers[of["key"]]]
    return found


def _scale(values: Sequence[float | None]) -> Chart:
    known = [value for value in values if value is not None]
    positive = bool(known) and min(known) > 0
    return {"positive": positive, "log": positive and max(known) > _WIDE * min(known)}


def look_of(contents: Contents, board: Board, row: Row, variant: int, mode: str) -> Chart:
    """A row's series: its name, and the colour and mark that it has on every plot."""
    missing = f" ({row.missing})" if row.missing else ""
    return {"name": text_of(name(row, board) + missing), "style": contents.style(row), "variant": variant, "mode": mode}


def text_of(text: str) -> Markup:
    """Plotly reads some HTML in its texts: here none is meant."""
    return escape(text)


def _metrics(board: Board) -> list[Chart]:
    found: list[Chart] = [
        {"key": f"m{place}", "label": text_of(quality_header(of)), "higher": of.higher_is_better}
        for place, of in enumerate(measurements(board))
    ]
    if found and board.target is not None:
        found[0]["target"] = compact(board.target)
    return found


def _amounts(board: Board) -> list[Chart]:
    """What training spent: seconds of each clock apart."""
    timed = [
        {"key": _seconds_key(board, clock), "label": _on("training seconds", clock.told(len(board.hardware) > 1))}
        for clock in board.clocks
    ]
    return [{"key": "images", "label": "training images"}, *timed, {"key": "flops", "label": "training FLOPs"}]


def _seconds_key(board: Board, clock: Clock) -> str:
    return f"seconds{board.clocks.index(clock)}"


def _on(label: str, where: str) -> Markup:
    return text_of(f"{label}, {where}" if where else label)


def _course(board: Board, row: Row) -> Chart | None:
    courses = {f"m{place}": row_course(row, of.protocol) for place, of in enumerate(row.measurements)}
    points = courses.get("m0", [])
    if not points:
        return None
    spent: dict[str, list[Estimate | None]] = {
        "images": [point.images for point in points],
        "flops": [point.flops for point in points],
    }
    if len(row.clocks) == 1:  # a mean over several would be of none
        spent[_seconds_key(board, row.clocks[0])] = [point.seconds for point in points]
    x = {key: [compact(of.mean) for of in found if of] for key, found in spent.items() if None not in found}
    shares = [point.at for point in points]
    return {"x": x, **ordinates({key: _at(shares, found) for key, found in courses.items()})}


def _at(shares: Sequence[float], points: Sequence[RowPoint]) -> list[Estimate | None]:
    by_share = {point.at: point.quality for point in points}
    return [by_share.get(at) for at in shares]


def ordinates(measured: dict[str, list[Estimate | None]]) -> Chart:
    """Means, and the halves of their intervals, 0 for one seed."""
    return {
        "y": {key: [compact(of.mean) if of else None for of in found] for key, found in measured.items()},
        "dy": {key: [_half(of) if of else None for of in found] for key, found in measured.items()},
    }


def _half(of: Estimate) -> float:
    return compact(of.half_width or 0.0, 3)


def _loss(run: Run) -> Chart | None:
    training, cost = run.record.training, run.record.cost
    if training is None or cost is None or not training.curve:
        return None
    curve = _thinned(training.curve)
    images = [point.images for point in curve]
    seconds = _seconds_key(run.board, Clock.of(run.record))
    x: dict[str, list[Any]] = {
        "images": images,
        seconds: [compact(point.seconds, 4) for point in curve],
        "flops": [compact(count * cost.training_flops(), 4) for count in images],
    }
    loss = [compact(point.loss, 4) for point in curve]
    return {"note": f"seed {run.record.seed}", "x": x, "y": {"loss": loss}}


def _thinned(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """So many points as a plot can show, the first and the last among them."""
    if len(curve) <= _POINTS:
        return list(curve)
    return [curve[round(place * (len(curve) - 1) / (_POINTS - 1))] for place in range(_POINTS)]


def _axes(board: Board) -> list[Axis]:
    several = len(board.hardware) > 1
    counted = [Axis(of.key, of.header, of) for of in (PARAMETERS, MACS)]
    placed = [
        Axis(f"{of.key}{place}", _on(of.header, hardware if several else ""), of, hardware)
        for of in (*RATES, PEAK_MEMORY)
        for place, hardware in enumerate(board.hardware)
    ]
    return [*counted, *placed]


def _standing(row: Row, axes: Sequence[Axis]) -> Chart:
    found = [(axis, axis.estimate(row)) for axis in axes]
    costs = {axis: of for axis, of in found if of is not None}
    return {
        "x": {axis.key: [compact(of.mean / axis.fact.scale)] for axis, of in costs.items()},
        "range": {
            axis.key: [compact(min(of.values) / axis.fact.scale), compact(max(of.values) / axis.fact.scale)]
            for axis, of in costs.items()
        },
        **ordinates({f"m{place}": [of] for place, of in enumerate(row.quality.values())}),
    }
