"""Guidance drawn: quality against recall, a line through the scales of a run, or through their means over a row."""

from __future__ import annotations

from collections.abc import Sequence

from ...records.facts import Measurement
from ...records.guidance import ALWAYS, GuidanceCurve, GuidancePoint
from ...tracks.track import DISTANCES
from ..boards import Board, Row
from ..intervals import Estimate
from ..tables import quality_header
from .contents import Contents, Run, variants
from .plots import Chart, look_of, make_chart, ordinates, text_of

_MODE = "lines+markers+text"
_SCALE = {"key": "scale", "label": "guidance scale"}


def of_run(contents: Contents, run: Run) -> Chart | None:
    """A run's curve and, if other runs of its row have one, the mean over them. None: it has none."""
    own = contents.guidance_of(run.record)
    if own is None:
        return None
    look = {"style": contents.style(run.row), "mode": _MODE}
    series = [{**look, "name": text_of(f"seed {run.record.seed}"), "variant": 0, **_line([own])}]
    curves = _curves(contents, run.row)
    if len(curves) > 1 and (mean := _line(curves)):
        series.append({**look, "name": text_of(f"mean of {len(curves)} seeds"), "variant": 1, **mean})
    return _chart([own], series)


def of_board(contents: Contents, board: Board) -> Chart | None:
    """A line for each row with curves: means over its seeds with intervals, at the scales that all of them have."""
    found = [
        (row, variant, curves)
        for row, variant in zip(board.rows, variants(board), strict=True)
        if (curves := _curves(contents, row))
    ]
    series = [
        {**look_of(contents, board, row, variant, _MODE), **line}
        for row, variant, curves in found
        if (line := _line(curves))
    ]
    return _chart([curve for _, _, curves in found for curve in curves], series) if series else None


def _curves(contents: Contents, row: Row) -> list[GuidanceCurve]:
    return [curve for record in row.finished if (curve := contents.guidance_of(record))]


def _chart(curves: Sequence[GuidanceCurve], series: Sequence[Chart]) -> Chart:
    """Recall and a Fréchet distance come first, which is what a page shows at first."""
    measured = {one.protocol: one for curve in curves for one in curve.points[0].metrics}.values()
    up = sorted(measured, key=lambda one: one.metric not in DISTANCES)
    across = [one for name in ALWAYS for one in measured if one.metric == name]
    return make_chart([*map(_choice, across), _SCALE], list(map(_choice, up)), series)


def _choice(of: Measurement) -> Chart:
    return {"key": of.protocol, "label": text_of(quality_header(of)), "higher": of.higher_is_better}


def _line(curves: Sequence[GuidanceCurve]) -> Chart:
    """Means at the scales that all curves have, in their order; empty: there is no such scale."""
    scales = sorted(set.intersection(*(set(curve.scales) for curve in curves)))
    if not scales:
        return {}
    points = [[point for curve in curves if (point := curve.at(scale))] for scale in scales]
    every = [point for at in points for point in at]
    names = [one.protocol for one in every[0].metrics if all(one.protocol in point.protocols for point in every)]
    means = ordinates({name: [_mean(name, at) for at in points] for name in names})
    across = [one.protocol for one in every[0].metrics if one.metric in ALWAYS and one.protocol in names]
    return {
        **means,
        "x": {"scale": scales, **{name: means["y"][name] for name in across}},
        "dx": {name: means["dy"][name] for name in across},
        "labels": {"of": "scale", "texts": [f"{scale:g}" for scale in scales]},
    }


def _mean(protocol: str, points: Sequence[GuidancePoint]) -> Estimate:
    return Estimate(tuple(point.value_of(protocol) for point in points))
