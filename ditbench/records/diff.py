"""A diagnosis for "my FID differs": what two records did not do alike, most suspicious first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from ..errors import BadFile, BadValue
from ..storage.files import exists, is_folder
from ..storage.reading import read_json
from ..storage.schema import read_checked
from .evaluation import Evaluation
from .facts import Measurement
from .files import EVALUATION_SUFFIX, FILE_NAME
from .fingerprint import Fingerprint, unlike
from .record import Record, config_of, read_record, seal

# From what moves a FID most and is least often told to what hardly moves it; a prefix covers all below it.
SUSPECTS = (
    "metric",  # extractor, sample count, reference count, subsets
    "extractor",
    "extractor_sha256",
    "resize",
    "reference",
    "reference_sha256",
    "samples",
    "track.evaluation",
    "generated.sampler",
    "generated",
    "track.sampler.guidance",
    "track.sampler",
    "sampling",  # evaluations, weights, labels
    "data_sha256",
    "data",
    "track.data",
    "track.space",
    "budget",
    "ruleset",
    "study",
    "objective",
    "recipe",
    "training",
    "fingerprint",  # what the network does
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
    "track": {
        "description", "size", "budget", "budgets", "target", "name", "version", "objective", "recipe", "search",
        "speedrun",
    },
    "study": {"trials", "chosen", "seconds", "flops"},
    "data": {"name"},
    "architecture": {"label", "options", "paper", "libraries"},
    "training": {
        "seconds", "final_loss", "step_seconds", "step_stride", "loading_seconds", "compile_seconds",
        "checkpoint_seconds", "evaluation_seconds", "images_per_second", "curve", "warm_compile_seconds",
    },
    "sampling": {
        "images_sha256", "batch_images", "batch_seconds", "decode_seconds", "images_per_second", "compile_seconds",
    },
}  # fmt: skip

_PARTS = ("track", "recipe", "study", "objective", "data", "architecture", "environment", "training", "sampling")


@dataclass(frozen=True)
class Difference:
    """A field of the protocol and its two values; None: not there."""

    field: str
    one: object
    other: object


def record_in(path: Path) -> Path:
    """The record that is meant: a run's, where its folder is named. `BadFile` if a folder has none."""
    if not is_folder(path):
        return path
    if not exists(path / FILE_NAME):
        raise BadFile(f"{str(path)!r} is a folder without {FILE_NAME}: name a record, or the folder of one run.")
    return path / FILE_NAME


def doubt(path: Path, record: Record | Evaluation) -> str:
    """What of a record's seal and hash does not hold, in a line; empty where all does, or it has neither."""
    if not isinstance(record, Record):
        return ""
    content = read_json(path, "record")
    faults = []
    if record.sha256 is not None and seal(content) != record.sha256:
        faults.append("sha256 is not that of its content")
    of_this_schema = content.get("schema_version") == record.schema_version
    if of_this_schema and not _is_of_its_run(record):
        faults.append("run_hash is not that of the run that it describes")
    told = " and ".join(faults)
    return f"{str(path)!r} is not as it was written: its {told}. See `ditbench records validate`." if faults else ""


def _is_of_its_run(record: Record) -> bool:
    try:
        return config_of(record).hash == record.run_hash
    except pydantic.ValidationError:
        return False


def read_either(path: Path) -> Record | Evaluation:
    """A run's record, or what `ditbench evaluate` wrote; `BadFile` names the file and the field."""
    return read_checked(Evaluation, path) if path.name.endswith(EVALUATION_SUFFIX) else read_record(path)


def differences(one: Record | Evaluation, other: Record | Evaluation) -> list[Difference]:
    """Every field of the protocol in which two records of a kind differ, most suspicious first."""
    if type(one) is not type(other):
        raise BadValue("One is the record of a run, the other an evaluation: compare two of a kind.")
    ours, theirs = dict(fields(one)), dict(fields(other))
    named = ours.keys() | theirs.keys()
    found = [Difference(name, ours.get(name), theirs.get(name)) for name in named if ours.get(name) != theirs.get(name)]
    if isinstance(one, Record) and isinstance(other, Record):
        found += _of_fingerprints(one.fingerprint, other.fingerprint)
    return sorted(found, key=lambda difference: (rank(difference.field), difference.field))


def _of_fingerprints(one: Fingerprint | None, other: Fingerprint | None) -> Iterator[Difference]:
    """What two networks do not do alike: the numbers that are further apart than rounding moves them."""
    if one is None or other is None or not (one.numbers and other.numbers):
        told = (_told(one), _told(other))
        if told[0] != told[1]:
            yield Difference("fingerprint", *told)
        return
    for name in unlike(one, other):
        numbers = [of.numbers[name].value if name in of.numbers else getattr(of, name) for of in (one, other)]
        yield Difference(f"fingerprint.{name}", *numbers)


def _told(of: Fingerprint | None) -> str | None:
    """In a word or two; None: there is none."""
    return None if of is None else of.missing or f"{len(of.numbers)} numbers"


def rank(name: str) -> int:
    """The place of a field in the order of suspicion, 0 the first."""
    return next((i for i, suspect in enumerate(SUSPECTS) if f"{name}.".startswith(f"{suspect}.")), len(SUSPECTS))


def fields(record: Record | Evaluation) -> Iterator[tuple[str, Any]]:
    """The protocol of a record, flat: ``("track.recipe.learning_rate", 0.002)``."""
    return _of_evaluation(record) if isinstance(record, Evaluation) else _of_run(record)


def _of_evaluation(record: Evaluation) -> Iterator[tuple[str, Any]]:
    facts = record.model_dump(mode="json")
    for name in ("extractor", "extractor_sha256", "resize", "device", "generated", "environment"):
        yield from _flat(name, facts[name])
    for name, results in (("samples", {"name", "sha256"}), ("reference", {"name"})):
        yield from _flat(name, {key: value for key, value in facts[name].items() if key not in results})
    for measurement in record.metrics:
        yield from _flat(f"metric.{measurement.metric}", _protocol(measurement))


def _of_run(record: Record) -> Iterator[tuple[str, Any]]:
    for name in ("ruleset", "budget", "seed", "device", "data_sha256", "reference_sha256"):
        yield name, getattr(record, name)
    for name in _PARTS:
        part = getattr(record, name)
        if part is not None:
            yield from _flat(name, part.model_dump(mode="json", exclude=_RESULTS.get(name, set())))
    for library in record.architecture.libraries:
        yield f"architecture.libraries.{library.name}.version", library.version
        yield f"architecture.libraries.{library.name}.files_sha256", library.files_sha256
    for choice, measurement in zip(record.track.evaluation.metrics, record.metrics, strict=False):
        yield from _flat(f"metric.{choice}", _protocol(measurement))


def _protocol(measurement: Measurement) -> dict[str, Any]:
    return measurement.model_dump(mode="json", exclude={"metric", "value", "spread", "higher_is_better", "raw"})


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(f"{name}.{key}", inner)
