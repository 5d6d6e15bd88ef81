"""What other lengths of EMA make of a finished run: its weights averaged otherwise after training, and measured.

Boards know the track's EMA alone: the best of several lengths, chosen by the numbers that rank, would be no fair row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from ..errors import BadFile, BadValue
from ..storage.files import is_folder, write_text
from ..storage.schema import Frozen, Hash, Name, Number, Positive, Sha256, Words, read_checked
from .facts import Environment, Measurement
from .files import FILE_NAME, LENGTHS_SUFFIX, WEIGHTS_FILE, json_files
from .record import Record, read_record, seal

LONGEST, MOST = 0.25, 50
Length = Annotated[float, Field(gt=0, le=LONGEST)]  # relative: the deviation of the average's profile as a share of t


class TakenSnapshot(Frozen):
    """Power-function averages that training left."""

    time: Annotated[float, Field(gt=0, le=1)]  # the share of the budget
    steps: Positive
    lengths: list[Length]
    sha256: Sha256


class MeasuredLength(Frozen):
    """One average of the weights, at the end of training."""

    length: Length
    profile_error: Number  # of what is made of the snapshots, as a share of the profile that it stands for
    metrics: Annotated[list[Measurement], Field(min_length=1)]


class EmaLengths(Frozen):
    """One run's weights, averaged over several lengths."""

    schema_version: Literal[1] = 1
    sha256: Sha256 | None = None  # of all else as JSON
    run_id: Name
    run_hash: Hash
    weights_sha256: Sha256  # of the run's own EMA, so of this training
    created: datetime
    environment: Environment
    device: Words
    snapshots: Annotated[list[TakenSnapshot], Field(min_length=1)]
    lengths: Annotated[list[MeasuredLength], Field(min_length=1, max_length=MOST)]

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> EmaLengths:
        if any(later.length <= earlier.length for earlier, later in pairwise(self.lengths)):
            raise ValueError("the lengths ascend")
        if len({tuple(one.protocol for one in found.metrics) for found in self.lengths}) > 1:
            raise ValueError("all lengths are measured by the same metrics")
        if self.sha256 is not None and self.sha256 != seal(self.model_dump(mode="json")):
            raise ValueError("it was changed after it was written: sha256 is not that of the rest")
        return self


def check_lengths(lengths: Sequence[float]) -> tuple[float, ...]:
    """Relative lengths in ascending order, or a `BadValue`."""
    told = f"`lengths` {', '.join(f'{length:g}' for length in lengths[:MOST])}"
    if not 0 < len(lengths) <= MOST:
        raise BadValue(f"{told}: give from 1 to {MOST}.")
    if not all(0 < length <= LONGEST for length in lengths):
        raise BadValue(f"{told}: each must be above 0 and at most {LONGEST}, as a share of training.")
    if any(later <= earlier for earlier, later in pairwise(lengths)):
        raise BadValue(f"{told}: name each once, in ascending order.")
    return tuple(lengths)


def check_run(run: Path) -> Record:
    """The record in the directory of a run with weights to average; `BadFile` if there is none."""
    if not is_folder(run):
        raise BadFile(f"There is no directory {str(run)!r} of a run.")
    record = read_record(run / FILE_NAME)
    if record.status != "finished" or not record.metrics:
        raise BadFile(f"{record.run_id} has no numbers to compare averages with: it is {record.status}.")
    return record


def is_of(found: EmaLengths, record: Record) -> bool:
    """Whether they are this very training's."""
    return found.run_id == record.run_id and found.weights_sha256 == record.files.get(WEIGHTS_FILE)


def sealed(found: EmaLengths) -> EmaLengths:
    """The same with the sha256 of all else."""
    return found.model_copy(update={"sha256": seal(found.model_dump(mode="json"))})


def write_lengths(found: EmaLengths, folder: Path) -> Path:
    """Write it atomically beside its record, in place of an earlier one."""
    path = folder / f"{found.run_id}{LENGTHS_SUFFIX}"
    write_text(path, found.model_dump_json(indent=1) + "\n")
    return path


def read_all_lengths(folder: Path) -> list[EmaLengths]:
    """All below a folder; `BadFile` names the first that is wrong."""
    return [read_lengths(path) for path in json_files(folder) if path.name.endswith(LENGTHS_SUFFIX)]


def read_lengths(path: Path) -> EmaLengths:
    """Read and check one; `BadFile` names the file and the field."""
    return read_checked(EmaLengths, path, kind="file of EMA lengths")
