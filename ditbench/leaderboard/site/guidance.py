"""Guidance drawn: quality against recall, a line through the scales of a run, or through their means over a row."""

from __future__ import annotations

from collections.abc import Sequence

from ...records.guidance import GuidanceCurve
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
    measured = {one.protocol: one for curve in curves for one in curve.points[0].metrics}
    choices = [
        {"key": one.protocol, "label": text_of(quality_header(one)), "higher": one.higher_is_better}
        for one in measured.values()
    ]
    of = {one.protocol: one.metric for one in measured.values()}
    across = [choice for metric in ("recall", "precision") for choice in choices if of[choice["key"]] == metric]
    up = sorted(choices, key=lambda choice: of[choice["key"]] not in DISTANCES)
    return make_chart([*across, _SCALE], up, series)


def _line(curves: Sequence[GuidanceCurve]) -> Chart:
    """Means at the scales that all curves have, in their order; empty: there is no such scale."""
    scales = sorted(set.intersection(*(set(curve.scales) for curve in curves)))
    if not scales:
        return {}
    points = [[point for curve in curves if (point := curve.at(scale))] for scale in scales]
    protocols = [name for name in points[0][0].protocols if all(name in one.protocols for at in points for one in at)]
    means = ordinates(
        {name: [Estimate(tuple(one.value_of(name) for one in at)) for at in points] for name in protocols}
    )
    along = {"scale": scales, **means["y"]}
    labels = {"of": "scale", "texts": [f"{scale:g}" for scale in scales]}
    return {"x": along, "dx": means["dy"], **means, "labels": labels}
