"""A finished run's weights measured again in processes of their own, as runs are. Imports no torch."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ..asking import end_with_parent
from ..errors import DitbenchError
from ..records.lengths import EmaLengths
from ..records.record import Record
from ..records.verification import Verification
from ..registry import Registry
from ..runtime.processes import answer_of
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


def _serve(outbox: Connection, task: _Task) -> None:
    end_with_parent()
    measured = pkgutil.resolve_name(task.by)
    try:
        outbox.send(measured(*task.arguments, Registry.installed(), outbox.send, apart, **task.options))
    except DitbenchError as error:
        outbox.send(error)
    except (Failed, Killed) as error:
        outbox.send(DitbenchError(f"The weights of {task.run} can't be measured again here: {error}."))
