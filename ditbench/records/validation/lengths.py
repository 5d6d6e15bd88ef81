"""A run's other lengths of EMA, checked: of this very training, and their numbers follow from the raw ones."""

from __future__ import annotations

from ..files import WEIGHTS_FILE
from ..lengths import EmaLengths
from ..record import Record
from .faults import Faults, differs, shown
from .known import Known
from .metrics import measurement
from .plausible import in_time, not_before


def faults_of_lengths(found: EmaLengths, record: Record, known: Known) -> Faults:
    """All that does not hold beside its run's record."""
    yield from differs("run_id", found.run_id, record.run_id, "the record's")
    yield from differs("run_hash", found.run_hash, record.run_hash, "the record's")
    yield from differs("weights_sha256", found.weights_sha256, record.files.get(WEIGHTS_FILE), "the record's")
    yield from in_time("created", found.created)
    yield from not_before("created", found.created, record.created)
    protocols = {one.protocol for one in record.metrics}
    for i, length in enumerate(found.lengths):
        for j, one in enumerate(length.metrics):
            field = f"lengths.{i}.metrics.{j}"
            if one.protocol not in protocols:
                yield f"{field}.protocol is {shown(one.protocol)}, should be one of its record's"
            yield from measurement(field, one, [one.protocol.partition("/")[2]], known)
