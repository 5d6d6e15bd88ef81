"""A diagnosis for "my FID differs": what two records did not do alike, most suspicious first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .record import Measurement, Record

# From what moves a FID most and is least often told to what hardly moves it; a prefix covers all below it.
SUSPECTS = (
    "metric",  # extractor, sample count, reference count, subsets
    "track.evaluation",
    "track.sampler.guidance",
    "track.sampler",
    "sampling",  # evaluations, weights, labels
    "data_sha256",
    "track.dataset",
    "track.space",
    "budget",
    "track.objective",
    "track.recipe",
    "training",
    "architecture",
    "seed",
    "environment.gpu",
    "environment.cuda",
    "environment.torch",
    "environment",
    "device",
    "track",
)
_RESULTS = {  # what a run found out or what only names it, not what it did
    "track": {"description", "size", "budget", "name", "version"},
    "architecture": {"label", "options", "paper"},
    "training": {"seconds", "final_loss", "step_seconds", "step_stride"},
    "sampling": {"images_sha256", "batch_images", "batch_seconds"},
}


@dataclass(frozen=True)
class Difference:
    """A field of the protocol and its two values; None: not there."""

    field: str
    one: object
    other: object


def differences(one: Record, other: Record) -> list[Difference]:
    """Every field of the protocol in which two records differ, most suspicious first."""
    ours, theirs = dict(_fields(one)), dict(_fields(other))
    names = sorted(ours.keys() | theirs.keys(), key=lambda name: (_rank(name), name))
    return [Difference(name, ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)]


def _rank(name: str) -> int:
    return next((i for i, suspect in enumerate(SUSPECTS) if f"{name}.".startswith(f"{suspect}.")), len(SUSPECTS))


def _fields(record: Record) -> Iterator[tuple[str, Any]]:
    """The protocol of a record, flat: ``("track.recipe.learning_rate", 0.002)``."""
    for name in ("budget", "seed", "device", "data_sha256"):
        yield name, getattr(record, name)
    for name in ("track", "architecture", "environment", "training", "sampling"):
        part = getattr(record, name)
        if part is not None:
            yield from _flat(name, part.model_dump(mode="json", exclude=_RESULTS.get(name, set())))
    for measurement in record.metrics:
        yield from _flat(f"metric.{measurement.metric}", _protocol(measurement))


def _protocol(measurement: Measurement) -> dict[str, Any]:
    return measurement.model_dump(mode="json", exclude={"metric", "value", "spread", "higher_is_better"})


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(f"{name}.{key}", inner)
