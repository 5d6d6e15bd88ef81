"""How fast processors were in runs that have records: what a plan for a CPU goes by where no profile is.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from ..records.facts import is_processor
from ..records.record import Record
from ..tracks.config import RunConfig
from .speed import Speed, Workload

# Multiply-accumulates per second: the median over the committed records of digits, and a test holds it to them. A
# nano network can't fill a processor, so this is far below what matrix products reach.
TRAINING_MACS, DENOISING_MACS = 2.2e10, 2.5e10


def processor_speed(config: RunConfig, load: Workload, records: Iterable[Record]) -> Speed:
    """By the records of the same network, or else by its MACs and what others made of theirs."""
    same = [record for record in of_processors(records) if _is_of(record, config, load)]
    if same:
        names = ", ".join(sorted({record.hardware for record in same}))
        by = f"{len(same)} {'record' if len(same) == 1 else 'records'} of it on {names}"
        return Speed(median(map(training_rate, same)), median(map(denoising_rate, same)), "recorded", by)
    training = load.cost.training_macs_per_image + load.recomputed_macs
    by = f"{TRAINING_MACS / 1e9:.0f} billion multiply-accumulates a second, as in the records of digits"
    return Speed(TRAINING_MACS / training, DENOISING_MACS / load.cost.macs_per_image, "estimated", by)


def of_processors(records: Iterable[Record]) -> list[Record]:
    """The finished runs on a CPU among them."""
    return [record for record in records if record.status == "finished" and is_processor(record.hardware)]


def training_rate(record: Record) -> float:
    """Images per second."""
    assert record.training is not None  # of a finished run
    return record.training.images_per_second


def denoising_rate(record: Record) -> float:
    """Images per second, each denoised once."""
    assert record.sampling is not None
    return record.sampling.images_per_second * record.sampling.evaluations


def _is_of(record: Record, config: RunConfig, load: Workload) -> bool:
    known = (record.architecture.name, record.architecture.size, record.architecture.settings)
    same_input = record.cost is not None and record.cost.macs_per_image == load.cost.macs_per_image
    return same_input and known == (config.architecture, config.size, config.settings)
