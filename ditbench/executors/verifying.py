"""A finished run's weights measured again in processes of their own, as runs are. Imports no torch."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ..asking import end_with_parent
from ..errors import DitbenchError
from ..records.files import FILE_NAME, WEIGHTS_FILE
from ..records.guidance import (
    GuidanceCurve,
    GuidancePoint,
    check_count,
    check_guidable,
    check_scales,
    curve_beside,
    write_curve,
)
from ..records.lengths import EmaLengths
from ..records.record import Record, read_record
from ..records.verification import Verification
from ..registry import Registry
from ..runtime.processes import answer_of
from ..runtime.progress import Progress, ProgressCallback
from ..storage.claims import sole_writer
from ..tracks.options import PlaceOptions
from .apart import Failed, Killed, apart
from .jobs import PRELOAD


class _Task(NamedTuple):
    """What measures, what of, and where."""

    by: str
    arguments: tuple[Any, ...]
    options: PlaceOptions
    run: str  # as it is called where it can't be


def re_evaluate(record: Record, weights: Path, by: str, **options: Unpack[PlaceOptions]) -> Verification:
    """See `benchmark.reevaluation.re_evaluate`. The plugin takes part in the sampling, and what measures is clean."""
    arguments = (record, weights, by)
    task = _Task("ditbench.benchmark.reevaluation:re_evaluate", arguments, options, record.run_id)
    found: Verification = answer_of(_serve, task, preload=PRELOAD)
    return found


def measure_lengths(
    run: Path, lengths: Sequence[float], samples: bool, save: Path | None, **options: Unpack[PlaceOptions]
) -> EmaLengths:
    """See `benchmark.lengths.measure_lengths`. The plugin takes part in what its network does, and no more."""
    arguments = (run, lengths, samples, save)
    task = _Task("ditbench.benchmark.lengths:measure_lengths", arguments, options, run.name)
    found: EmaLengths = answer_of(_serve, task, preload=PRELOAD)
    return found


def guidance_curve(
    run: Path,
    scales: Sequence[float],
    *,
    force: bool = False,
    hear: Callable[[float, Progress], None] = lambda scale, progress: None,
    **options: Unpack[PlaceOptions],
) -> GuidanceCurve:
    """Measure a finished run's EMA weights at scales of guidance, and keep each point as soon as it is measured.

    What is there of these weights is not measured again, unless `force` asks for it. The answer has all points of the
    file. Raises `DitbenchError`, `RunBusy` if somebody else writes the run's directory.
    """
    check_scales(scales)
    record = read_record(run / FILE_NAME)
    check_guidable(record)
    with sole_writer(run):
        curve = curve_beside(record, run)
        check_count([*curve.scales, *scales])
        for scale in scales:
            if force or curve.at(scale) is None:
                point = measure_guided(record, run / WEIGHTS_FILE, scale, partial(hear, scale), **options)
                curve = curve.and_also(point)
                write_curve(curve, run)
    return curve


def measure_guided(
    record: Record,
    weights: Path,
    scale: float,
    hear: ProgressCallback = lambda progress: None,
    **options: Unpack[PlaceOptions],
) -> GuidancePoint:
    """See `benchmark.reevaluation.measure_guided`; likewise."""
    arguments = (record, weights, scale)
    task = _Task("ditbench.benchmark.reevaluation:measure_guided", arguments, options, record.run_id)
    found: GuidancePoint = answer_of(_serve, task, hear, preload=PRELOAD)
    return found


def _serve(outbox: Connection, task: _Task) -> None:
    end_with_parent()
    measured = pkgutil.resolve_name(task.by)
    try:
        outbox.send(measured(*task.arguments, Registry.installed(), outbox.send, apart, **task.options))
    except DitbenchError as error:
        outbox.send(error)
    except (Failed, Killed) as error:
        outbox.send(DitbenchError(f"The weights of {task.run} can't be measured again here: {error}."))
