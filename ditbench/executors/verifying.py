"""A record's weights measured again in processes of their own, as runs are. Imports no torch."""

from __future__ import annotations

import pkgutil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Unpack

from ..asking import end_with_parent
from ..errors import DitbenchError
from ..records.record import Record
from ..records.verification import Verification
from ..registry import Registry
from ..runtime.processes import answer_of
from ..tracks.options import PlaceOptions
from .apart import Failed, Killed, apart
from .jobs import PRELOAD


def re_evaluate(record: Record, weights: Path, by: str, **options: Unpack[PlaceOptions]) -> Verification:
    """See `benchmark.reevaluation.re_evaluate`. The plugin takes part in the sampling, and what measures is clean."""
    found: Verification = answer_of(_serve, (record, weights, by, options), preload=PRELOAD)
    return found


def _serve(outbox: Connection, task: tuple[Record, Path, str, PlaceOptions]) -> None:
    end_with_parent()
    record, weights, by, options = task
    measured_again = pkgutil.resolve_name("ditbench.benchmark.reevaluation:re_evaluate")
    try:
        outbox.send(measured_again(record, weights, by, Registry.installed(), outbox.send, apart, **options))
    except DitbenchError as error:
        outbox.send(error)
    except (Failed, Killed) as error:
        outbox.send(DitbenchError(f"The weights of {record.run_id} can't be sampled again here: {error}."))
