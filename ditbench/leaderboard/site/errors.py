"""The denoising error drawn: by the level of noise, a line for each row of a board or each set of weights of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...records.denoising import LEVELS, LOG_SNRS, ErrorCurve
from ...records.lengths import is_of
from ..boards import Board, Row
from ..error_levels import weighed
from ..intervals import Estimate
from ..tables import quality_header
from .contents import Contents, Run, variants
from .plots import Chart, compact, look_of, make_chart, ordinates, text_of

_X = [{"key": "snr", "label": "log SNR: noise left, images right"}]
_Y = [
    {"key": "velocity", "label": "(1 + SNR) × squared error", "higher": False},
    {"key": "image", "label": "squared error of the image", "higher": False},
]
_ON_THE_WAY = [{"key": "images", "label": "training images"}, {"key": "flops", "label": "training FLOPs"}]
_LENGTHS = [{"key": "length", "label": "relative length of the EMA"}]
_POINT = [{"key": "error", "label": "denoising error on a few images", "higher": False}]


def by_level(contents: Contents, board: Board) -> Chart | None:
    """The averaged weights' error on held-out images: the mean over seeds with its interval. None: no row has it."""
    series = [
        {**look_of(contents, board, row, variant, "lines+markers"), "x": {"snr": list(LOG_SNRS)}, **_over_seeds(curves)}
        for row, variant in zip(board.rows, variants(board), strict=True)
        if (curves := _held_out(row))
    ]
    return make_chart(_X, _Y, series) if series else None


def on_the_way(contents: Contents, board: Board) -> Chart | None:
    """The error on a few images while training went on, the mean over seeds with its interval. None: no row has it."""
    series = [
        {**look_of(contents, board, row, variant, "lines+markers"), **course}
        for row, variant in zip(board.rows, variants(board), strict=True)
        if (course := _course(row))
    ]
    return make_chart(_ON_THE_WAY, _POINT, series) if series else None


def of_run(contents: Contents, run: Run) -> Chart | None:
    """All curves of one run: both weights, on held-out and on training images. None: it has none."""
    found = run.record.denoising
    if found is None:
        return None
    series = [
        {
            "name": text_of(f"{'averaged' if curve.weights == 'ema' else 'last'} weights, {curve.images} images"),
            "style": contents.style(run.row),
            "variant": place,
            "mode": "lines+markers",
            "x": {"snr": list(LOG_SNRS)},
            **_over_seeds([curve]),
        }
        for place, curve in enumerate(found.curves)
    ]
    return make_chart(_X, _Y, series)


def beside_another(contents: Contents, run: Run) -> Chart | None:
    """A run's error for the plot in which another is chosen to compare it with. None: it has none."""
    if run.record.denoising is None:
        return None
    curve = run.record.denoising.curves[0]
    values = [compact(weighed(curve, level), 4) for level in range(LEVELS)]
    look = {"name": text_of(run.title), "style": contents.style(run.row), "variant": 0, "mode": "lines+markers"}
    return make_chart(_X, _Y[:1], [{**look, "x": {"snr": list(LOG_SNRS)}, "y": {"velocity": values}}])


def by_length(contents: Contents, run: Run) -> Chart | None:
    """What other lengths of EMA make of the run's weights, a choice of metrics. None: they were not measured."""
    found = contents.lengths.get(run.record.run_id)
    if found is None or not is_of(found, run.record):
        return None
    metrics: list[Chart] = [
        {"key": f"m{place}", "label": text_of(quality_header(of)), "higher": of.higher_is_better}
        for place, of in enumerate(found.lengths[0].metrics)
    ]
    values: dict[str, list[Estimate | None]] = {
        metric["key"]: [Estimate((one.metrics[place].value,)) for one in found.lengths]
        for place, metric in enumerate(metrics)
    }
    line = {
        "name": text_of(run.title),
        "style": contents.style(run.row),
        "variant": 0,
        "mode": "lines+markers",
        "x": {"length": [one.length for one in found.lengths]},
        **ordinates(values),
    }
    return make_chart(_LENGTHS, metrics, [line])


def _held_out(row: Row) -> list[ErrorCurve]:
    """Of each run that has it, the first of its curves."""
    return [record.denoising.curves[0] for record in row.finished if record.denoising]


def _over_seeds(curves: Sequence[ErrorCurve]) -> dict[str, Any]:
    def estimates(weigh: bool) -> list[Estimate | None]:
        factors = [1 + math.exp(log_snr) if weigh else 1.0 for log_snr in LOG_SNRS]
        return [
            Estimate(tuple(factor * curve.errors[level] for curve in curves)) for level, factor in enumerate(factors)
        ]

    return ordinates({"velocity": estimates(True), "image": estimates(False)})


def _course(row: Row) -> Chart | None:
    """At the shares of the budget that every run of the row was seen at."""
    found = [{point.at: point for point in record.denoising.points} for record in row.finished if record.denoising]
    shares = sorted(set.intersection(*map(set, found))) if found else []
    if not shares:
        return None
    values: list[Estimate | None] = [Estimate(tuple(points[at].error for points in found)) for at in shares]
    first = found[0]
    x = {"images": [first[at].images for at in shares], "flops": [compact(first[at].flops, 4) for at in shares]}
    return {"x": x, **ordinates({"error": values})}
