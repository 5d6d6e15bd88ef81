"""What in a run's record follows from something else in it, made again. Each check yields the faults that it finds.

Whether a number is likely is not asked here; whether it is possible, `plausible.py` asks.
"""

from __future__ import annotations

import pydantic

from ...storage.schema import first_fault
from ...tracks.ledger import data_of, is_published, published, shipped
from ..record import Record, config_of
from .cost import cost_of, settings_of
from .denoising import denoising_of
from .faults import Faults, differs, shown
from .known import Known
from .metrics import metrics_of
from .plausible import dates, machine, times
from .sampling import sampling_of
from .training import training_of
from .tuning import search_of


def _identity(record: Record) -> Faults:
    try:
        config = config_of(record)
    except pydantic.ValidationError as error:
        yield f"it describes no run: {first_fault(error)}"
        return
    yield from differs("run_hash", record.run_hash, config.hash, "hash of all that may change the run's result")
    yield from differs("run_id", record.run_id, config.run_id)
    yield from differs("architecture.label", record.architecture.label, config.label)
    for name, value in config.options.items():
        yield from differs(f"architecture.settings.{name}", config.settings.get(name), value, "by its options")


def _track(record: Record) -> Faults:
    track, known = record.track, published(record.track)
    yield from differs("track_hash", record.track_hash, track.hash, "hash of the track as it stands in the record")
    if known and not record.deviations and not is_published(track):
        yield from _unpublished(record, known)
    if (ours := shipped(track)) is not None:
        why = f"as {track.name} v{track.version} has it"
        yield from differs("track.target", track.target, ours.target, why)
        if record.ruleset == "speedrun":
            asked, meant = (
                None if of.speedrun is None else of.speedrun.model_dump(mode="json") for of in (track, ours)
            )
            yield from differs("track.speedrun", asked, meant, why)


def _unpublished(record: Record, known: dict[str, str]) -> Faults:
    track = record.track
    if str(track.version) not in known:
        yield f"track.version is {track.version}, should be {' or '.join(known)}: no other {track.name} was published"
    else:
        why = f"{track.name} v{track.version} as it was published; otherwise its deviations say so"
        yield from differs("track_hash", track.hash, known[str(track.version)], why)


def _ending(record: Record) -> Faults:
    if record.status == "interrupted":
        yield 'status is "interrupted", should be finished, failed or diverged: an interrupted run has no result yet'
    if record.status == "finished":
        yield from differs("reason", record.reason, None, "the run finished")
        return
    left = ("cost", "training", "sampling", "memory", "data", "raw", "metrics", "floors", "milestones", "files")
    for name in (*left, "fingerprint", "denoising"):
        if getattr(record, name):
            yield f"{name} is there, should not be: the run did not finish"


def _data(record: Record) -> Faults:
    """What is not as the track says must be told, where the record knows of it."""
    data, asked = record.data, record.track.data
    if record.deviations:
        return
    why = "as its track says; otherwise its deviations say so"
    if sha256 := data_of(record.track):
        yield from differs("data_sha256", record.data_sha256, sha256, why)
        yield from differs("reference_sha256", record.reference_sha256, sha256, f"the training images, {why}")
    if data is None:
        return
    side = asked.resolution // asked.downsampling
    frames = [asked.frames] if asked.frames > 1 else []
    shape = [*frames, data.shape[-3] if asked.channels is None else asked.channels, side, side]
    yield from differs("data.shape", list(data.shape), shape, why)
    for name, should in (("examples", asked.images), ("classes", asked.classes), ("skipped", 0)):
        if should is not None:
            yield from differs(f"data.{name}", getattr(data, name), should, why)
    if asked.autoencoder is not None and data.autoencoder != asked.autoencoder.rpartition("/")[2]:
        yield from differs("data.autoencoder", data.autoencoder, asked.autoencoder, why)


def _machine(record: Record) -> Faults:
    """Device and environment are of one machine, and so are the peaks of memory."""
    kind = record.device.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        yield f"device is {shown(record.device)}, should be cpu, mps, cuda or cuda:N"
    elif record.environment is not None and (record.environment.gpu is not None) != (kind != "cpu"):
        yield f"environment.gpu is {shown(record.environment.gpu)}, should be {'none' if kind == 'cpu' else 'one'}"
    if record.memory is None:
        return
    peak, before = record.memory.training, record.memory.resident_at_start
    if kind == "cpu" and (peak.resident or 0) < before:
        yield f"memory.training.resident is {shown(peak.resident)}, should be at least the {before} before training"
    if kind == "cuda" and not 0 < (peak.allocated or 0) <= (peak.reserved or 0):
        yield f"memory.training.allocated is {shown(peak.allocated)}, should be part of the reserved {peak.reserved}"


def faults_of(record: Record, known: Known) -> Faults:
    """All that does not hold within a record, as far as the components that it names are known."""
    for check in (_identity, _track, _ending, _data, dates, training_of, times):
        yield from check(record)
    for ask in (cost_of, settings_of, measured_faults, denoising_of, search_of):
        yield from ask(record, known)


def measured_faults(record: Record, known: Known) -> Faults:
    """What does not hold of its machine, its samples and its metrics."""
    yield from _machine(record)
    yield from machine(record)
    yield from sampling_of(record, known)
    yield from metrics_of(record, known)
