"""The numbers that finished runs have beside their quality: what they spent, how fast they were, how large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..records.derived import per_device
from ..records.facts import Cost, SamplingFacts, TrainingFacts
from ..records.record import Record
from .boards import Row
from .intervals import Estimate


@dataclass(frozen=True)
class Fact:
    """One of them; a run has None where an old record did not note it."""

    key: str  # in JSON, where it is in plain units
    header: str
    kind: Literal["spent", "speed", "size"]
    read: Callable[[Record], float | None]
    scale: float = 1.0  # plain units in one of the header's
    higher_is_better: bool = False
    timed: bool = False  # by a clock: what was measured beside other runs does not compare with what was not

    def estimate(self, row: Row) -> Estimate | None:
        """Over the row's seeds, in plain units; None if it is not known of all its finished runs.

        Times are those of one clock: of a row that has several, the first.
        """
        row = row.by(row.clocks[0]) if self.timed and row.clocks else row
        known = [self.read(record) is not None for record in row.finished]
        return row.estimate(lambda record: float(self.read(record) or 0)) if known and all(known) else None


def _training(record: Record) -> TrainingFacts:
    assert record.training is not None
    return record.training


def _sampling(record: Record) -> SamplingFacts:
    assert record.sampling is not None
    return record.sampling


def _cost(record: Record) -> Cost:
    assert record.cost is not None
    return record.cost


def _per_device(rate: float, record: Record) -> float | None:
    """None of a run in one process."""
    assert record.environment is not None
    return per_device(rate, record.environment.processes)


def flops(record: Record, images: int) -> float:
    """FLOPs of training on so many images, by today's rule and the MACs that the record holds.

    Older ones of checkpointed networks hold what was recomputed, too, and those of MDT v2 one draw of its mask.
    """
    return float(_cost(record).training_flops() * images)


def _parameters(record: Record) -> int:
    """Without what only training uses."""
    return _cost(record).parameters - _cost(record).train_only_parameters


def _peak(record: Record) -> int | None:
    assert record.memory is not None
    peak = record.memory.training
    return peak.allocated or peak.resident


IMAGES = Fact("training_images", "images", "spent", lambda record: _training(record).images)
SECONDS = Fact("training_seconds", "train s", "spent", lambda record: _training(record).seconds, timed=True)
FLOPS = Fact("training_flops", "TFLOPs", "spent", lambda record: flops(record, _training(record).images), 1e12)
SEARCH_FLOPS = Fact(
    "search_training_flops",
    "search TFLOPs",
    "spent",
    lambda record: record.study.flops if record.study else None,
    1e12,
)
# A run's own rates, with what its machine did besides: they stand in no table (`speeds.py` has what does).
TRAINING_RATE = Fact(
    "training_images_per_second_in_run",
    "train img/s in run",
    "speed",
    lambda record: _training(record).images_per_second,
    higher_is_better=True,
    timed=True,
)
SAMPLING_RATE = Fact(
    "sampling_images_per_second_in_run",
    "sample img/s in run",
    "speed",
    lambda record: _sampling(record).images_per_second,
    higher_is_better=True,
    timed=True,
)
TRAINING_RATE_PER_DEVICE = Fact(
    "training_images_per_second_per_device_in_run",
    "train img/s per device in run",
    "speed",
    lambda record: _per_device(_training(record).images_per_second, record),
    higher_is_better=True,
    timed=True,
)
SAMPLING_RATE_PER_DEVICE = Fact(
    "sampling_images_per_second_per_device_in_run",
    "sample img/s per device in run",
    "speed",
    lambda record: _per_device(_sampling(record).images_per_second, record),
    higher_is_better=True,
    timed=True,
)
PEAK_MEMORY = Fact("peak_memory_bytes", "peak MiB", "speed", _peak, 2**20)
PARAMETERS = Fact("parameters", "params (M)", "size", _parameters, 1e6)
MACS = Fact("macs_per_image", "MACs (M)", "size", lambda record: _cost(record).macs_per_image, 1e6)
TRAINING_MACS = Fact(
    "training_macs_per_image", "train MACs (M)", "size", lambda record: _cost(record).training_macs_per_image, 1e6
)
OUTSIDE_MACS = Fact(
    "outside_macs_per_image",
    "of them outside (M)",
    "size",
    lambda record: _cost(record).outside_macs_per_image or None,
    1e6,
)
# Of runs in several processes, of those whose recipe a search has chosen, and of those trained with other networks.
RARE = (TRAINING_RATE_PER_DEVICE, SAMPLING_RATE_PER_DEVICE, SEARCH_FLOPS, OUTSIDE_MACS)
FACTS = (IMAGES, SECONDS, FLOPS, TRAINING_RATE, SAMPLING_RATE, PEAK_MEMORY, PARAMETERS, MACS, TRAINING_MACS)
