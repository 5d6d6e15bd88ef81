"""The protocol, top to bottom: data, train, sample, measure, record."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from ..datasets.examples import Data
from ..datasets.loading import Feed
from ..denoiser.cost import cost_of
from ..errors import BadFile
from ..records.facts import Cost, DataFacts, Environment, Memory, PeakMemory, RawWeights, TrainingFacts
from ..records.files import GRID_FILE, RAW_WEIGHTS_FILE, SAMPLES_FILE, WEIGHTS_FILE
from ..records.record import Record, identity
from ..registry import Registry
from ..runtime.clock import RUNNING
from ..runtime.distributed import ALONE, World
from ..runtime.memory import peak_memory, reset_peak, resident
from ..runtime.progress import Watch
from ..sampling.pictures import write_samples
from ..sampling.samples import Samples
from ..storage.files import sha256_of, write_atomically
from ..tracks.budget import Budget, BudgetClock
from ..tracks.config import RunConfig
from ..training.loop import train
from ..training.trainer import Trainer
from .judge import Judge, show
from .setup import Parts, build, load_denoiser, resolve

NOTHING_TO_SAY = "the quality of samples says nothing after training on synthetic noise"


@RUNNING.watched()
def run(
    config: RunConfig,
    directory: Path,
    environment: Environment,
    registry: Registry,
    watch: Watch,
    world: World = ALONE,
) -> Record | None:
    """Carry out one run in its directory and return its finished record; None in all processes but the main one.

    Resumes from what the directory holds. Leaves ``curve.jsonl``, ``ema.safetensors``, ``raw.safetensors`` and
    ``samples.png`` there, and ``samples.npz`` when asked to keep the samples. Raises `Diverged` or `Interrupted`.
    """
    parts = resolve(config, registry)
    judge, at_start = Judge(config, parts, directory, watch, world), resident()

    ema, cost, training, training_peak = _train(config, parts, judge)

    samples, sampling_peak = _sample(ema, judge)

    metrics, floors = judge.measure(samples), judge.floors()
    raw = _raw(judge, environment) if config.raw_weights else None
    if not world.main:
        return None
    return Record(
        **identity(config),
        status="finished",
        environment=environment,
        cost=cost,
        training=training,
        sampling=samples.facts,
        memory=Memory(resident_at_start=at_start, training=training_peak, sampling=sampling_peak),
        data=_data_facts(parts.data),
        metrics=metrics,
        left_out=[] if parts.scoring else [NOTHING_TO_SAY],
        floors=floors,
        milestones=judge.milestones(),
        raw=raw,
        files=_files(directory),
    )


@RUNNING.watched()
def supplement(
    config: RunConfig, directory: Path, environment: Environment, record: Record, registry: Registry, watch: Watch
) -> Record:
    """What was asked for after a run had finished: its ``samples.npz``, its raw weights' metrics.

    Raises `BadFile` if the weights in the directory are gone, or no longer give the record's images.
    """
    parts = resolve(config, registry)
    judge = Judge(config, parts, directory, watch)
    if config.keep_samples and not (directory / SAMPLES_FILE).exists():
        samples = judge.draw(load_denoiser(config, parts, directory / WEIGHTS_FILE))
        if record.sampling is None or samples.facts.images_sha256 != record.sampling.images_sha256:
            samples.discard()
            raise BadFile(
                f"The weights in {directory.name!r} do not give the images of its record here (another machine, or "
                "libraries?); evaluate them by themselves with `ditbench evaluate`, or train again with `force`."
            )
        write_samples(directory / SAMPLES_FILE, samples.pixels, samples.labels)
        samples.discard()
    if config.raw_weights and record.raw is None:
        return record.model_copy(update={"raw": _raw(judge, environment)})
    return record


def _train(config: RunConfig, parts: Parts, judge: Judge) -> tuple[nn.Module, Cost, TrainingFacts, PeakMemory]:
    """Train to the end of the budget and write both weights: the EMA network, and what it took.

    All else is freed on return.
    """
    device, directory = parts.device, judge.directory
    reset_peak(device)
    world, on_gpu = judge.world, device.type == "cuda"
    denoiser = build(parts, config)
    cost = cost_of(denoiser, parts.spec)
    flops = cost.training_flops(config.flops_rule)
    clock = BudgetClock(Budget.parse(config.budget), flops, gpus=world.size if on_gpu else 0)
    feed = Feed(parts.data, config.track.data, config.seed, device, world.rank, world.size)
    trainer = Trainer(
        denoiser,
        parts.spec,
        parts.objective,
        config.recipe,
        clock,
        feed,
        config.seed,
        device,
        world=world,
        counted=cost.training_macs_per_image,
    )
    evaluate = partial(judge.at_milestone, trainer)
    try:
        train(trainer, directory, config.hash, config.checkpoint_seconds, judge.watch, config.eval_at, evaluate)
    finally:
        feed.close()
    facts, peak = trainer.facts(), trainer.peak
    _write_weights(directory / RAW_WEIGHTS_FILE, judge.whole(denoiser), world)
    ema = judge.whole(trainer.ema)
    _write_weights(directory / WEIGHTS_FILE, ema, world)
    return ema, cost, facts, peak


def _write_weights(path: Path, network: nn.Module, world: World) -> None:
    if not world.main:
        return
    weights = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(weights, temporary))


def _sample(ema: nn.Module, judge: Judge) -> tuple[Samples, PeakMemory]:
    device = judge.parts.device
    reset_peak(device)
    samples = judge.draw(ema)
    peak = peak_memory(device) if device.type == "cuda" else PeakMemory()
    _keep(samples, judge)
    return samples, peak


def _keep(samples: Samples, judge: Judge) -> None:
    """The grid, and the samples themselves if that was asked for."""
    if not judge.world.main:
        return
    show(samples, judge.parts, judge.directory / GRID_FILE)
    if judge.config.keep_samples:
        write_samples(judge.directory / SAMPLES_FILE, samples.pixels, samples.labels)


def _files(directory: Path) -> dict[str, str]:
    """The sha256 of what the run leaves beside its record."""
    return {name: sha256_of(directory / name) for name in (WEIGHTS_FILE, GRID_FILE) if (directory / name).exists()}


def _raw(judge: Judge, environment: Environment) -> RawWeights:
    """The same samples and metrics of the weights as training left them, by all of the judge's processes."""
    weights = judge.directory / RAW_WEIGHTS_FILE
    if not weights.exists():
        raise BadFile(
            f"{judge.directory.name!r} has no {RAW_WEIGHTS_FILE} for `raw_weights` to measure; "
            "train it again with `force`."
        )
    samples = judge.draw(load_denoiser(judge.config, judge.parts, weights), "raw", "raw")
    metrics = judge.measure(samples)
    if judge.world.main:
        samples.discard()
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
    )
