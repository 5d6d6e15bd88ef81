"""The protocol, top to bottom: data, train, sample, measure, record.

A run is of two parts, which a process each carries out: the work that the plugin's network takes part in, and the
judgement of what it has left. `executors.jobs` says who does which.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ..datasets.examples import Data
from ..errors import BadFile
from ..records.facts import DataFacts, Environment, RawWeights, Work
from ..records.files import GRID_FILE, SAMPLES_FILE, WEIGHTS_FILE
from ..records.record import Record, identity
from ..registry import Registry
from ..runtime.distributed import ALONE, World
from ..runtime.memory import keep_what_is_freed
from ..runtime.progress import Watch
from ..sampling.pictures import write_samples
from ..storage.files import sha256_of
from ..tracks.config import RunConfig
from .judge import Judge
from .setup import resolve
from .work import RAW, draw_again, work

__all__ = ["draw_again", "judge", "supplement", "work"]  # in this order

NOTHING_TO_SAY = "the quality of samples says nothing after training on synthetic noise"


def judge(
    config: RunConfig,
    directory: Path,
    environment: Environment,
    registry: Registry,
    watch: Watch,
    done: Work,
    world: World = ALONE,
) -> Record | None:
    """Measure what the work has left in the directory: the run's finished record; None in all but the main process.

    Leaves ``samples.png`` there, and ``samples.npz`` when asked to keep the samples.
    """
    keep_what_is_freed()
    parts = resolve(config, registry)
    found = Judge(config, parts, directory, watch, world)
    samples = found.samples()
    found.show(samples, directory / GRID_FILE)
    if config.keep_samples and world.main:
        write_samples(directory / SAMPLES_FILE, samples.pixels, samples.labels)
    metrics, floors, milestones = found.measure(samples), found.floors, found.milestones(done.reached)
    raw = _raw(found, environment) if config.raw_weights else None
    denoising = found.denoising(done)
    if not world.main:
        return None
    return Record(
        **identity(config),
        status="finished",
        environment=environment,
        cost=done.cost,
        training=done.training,
        sampling=samples.facts,
        memory=done.memory,
        data=_data_facts(parts.data),
        fingerprint=done.fingerprint,
        metrics=metrics,
        denoising=denoising,
        left_out=[] if parts.scoring else [NOTHING_TO_SAY],
        floors=floors,
        milestones=milestones,
        raw=raw,
        files=_files(directory),
    )


def supplement(
    config: RunConfig, directory: Path, environment: Environment, registry: Registry, watch: Watch, record: Record
) -> Record:
    """What was asked for after a run had finished, of samples drawn again: its ``samples.npz``, its raw metrics.

    Raises `BadFile` if the weights in the directory no longer give the record's images.
    """
    found = Judge(config, resolve(config, registry), directory, watch)
    if config.keep_samples and not (directory / SAMPLES_FILE).exists():
        samples = found.samples()
        if record.sampling is None or samples.facts.images_sha256 != record.sampling.images_sha256:
            samples.discard()
            raise BadFile(
                f"The weights in {directory.name!r} do not give the images of its record here (another machine, or "
                "libraries?); evaluate them by themselves with `ditbench evaluate`, or train again with `force`."
            )
        write_samples(directory / SAMPLES_FILE, samples.pixels, samples.labels)
    if config.raw_weights and record.raw is None:
        return record.model_copy(update={"raw": _raw(found, environment)})
    return record


def _files(directory: Path) -> dict[str, str]:
    """The sha256 of what the run leaves beside its record."""
    return {name: sha256_of(directory / name) for name in (WEIGHTS_FILE, GRID_FILE) if (directory / name).exists()}


def _raw(found: Judge, environment: Environment) -> RawWeights:
    """The same metrics of the weights as training left them."""
    samples = found.samples("raw", RAW)
    metrics = found.measure(samples)
    created = datetime.now(UTC).replace(microsecond=0)
    return RawWeights(created=created, environment=environment, sampling=samples.facts, metrics=metrics)


def _data_facts(data: Data) -> DataFacts:
    maker = data.autoencoder
    return DataFacts(
        name=data.name,
        examples=len(data.examples),
        shape=data.examples.shape,
        classes=len(data.class_names),
        skipped=data.skipped,
        autoencoder=maker.name if maker else "",
        autoencoder_sha256=maker.sha256 if maker else "",
        reconstruction=data.reconstruction,
    )
