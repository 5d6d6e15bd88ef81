"""The protocol, top to bottom: data, train, sample, measure, record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

import pydantic
from safetensors.torch import save_file
from torch import nn

from .budget import Budget, BudgetClock
from .cost import cost_of, peak_memory, reset_peak, resident
from .datasets.examples import Data
from .datasets.loading import Feed
from .errors import BadFile
from .images import write_grid, write_samples
from .loop import train
from .parts import Parts, build, load_denoiser, resolve
from .record import (
    GRID_FILE,
    SAMPLES_FILE,
    WEIGHTS_FILE,
    Cost,
    DataFacts,
    Environment,
    Measurement,
    Memory,
    Milestone,
    PeakMemory,
    RawWeights,
    Record,
    TrainingFacts,
    identity,
)
from .registry import Registry
from .samples import Samples, draw
from .scoring import Networks, Real
from .sharding import gather
from .storage import sha256_of, write_atomically, write_text
from .track import RunConfig, first_fault
from .training import Trainer
from .watch import Diverged, Progress, Watch
from .world import ALONE, World

RAW_WEIGHTS_FILE = "raw.safetensors"
MILESTONES_FILE = "milestones.json"
_Milestones = pydantic.TypeAdapter(list[Milestone])


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

    reset_peak(parts.device)
    samples = draw(config, parts, ema, "ema", directory, watch, world=world)
    sampling_peak = peak_memory(parts.device) if parts.device.type == "cuda" else PeakMemory()
    if world.main:
        _show(samples, parts, directory / GRID_FILE)
    if world.main and config.keep_samples:
        write_samples(directory / SAMPLES_FILE, samples.pixels, samples.labels)

    metrics, floors = judge.measure(samples), judge.floors()
    raw = _raw(config, parts, judge, directory, environment, watch) if config.raw_weights else None
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
        left_out=[] if parts.scoring else ["the quality of samples says nothing after training on synthetic noise"],
        floors=floors,
        milestones=judge.milestones(),
        raw=raw,
        files={name: sha256_of(directory / name) for name in (WEIGHTS_FILE, GRID_FILE) if (directory / name).exists()},
    )


def supplement(
    config: RunConfig, directory: Path, environment: Environment, record: Record, registry: Registry, watch: Watch
) -> Record:
    """What was asked for after a run had finished: its ``samples.npz``, its raw weights' metrics.

    Raises `BadFile` if the weights in the directory are gone, or no longer give the record's images.
    """
    parts = resolve(config, registry)
    if config.keep_samples and not (directory / SAMPLES_FILE).exists():
        denoiser = load_denoiser(config, parts, directory / WEIGHTS_FILE)
        samples = draw(config, parts, denoiser, "ema", directory, watch)
        if record.sampling is None or samples.facts.images_sha256 != record.sampling.images_sha256:
            samples.discard()
            raise BadFile(
                f"The weights in {directory.name!r} do not give the images of its record here (another machine, or "
                "libraries?); evaluate them by themselves with `ditbench evaluate`, or train again with --force."
            )
        write_samples(directory / SAMPLES_FILE, samples.pixels, samples.labels)
        samples.discard()
    if config.raw_weights and record.raw is None:
        judge = Judge(config, parts, directory, watch)
        return record.model_copy(update={"raw": _raw(config, parts, judge, directory, environment, watch)})
    return record


class Judge:
    """Measures a run's samples, at the end and on the way. Without data to compare with it has nothing to say.

    Several processes extract features together. The real images are the main one's, as are all metrics: the others'
    are empty.
    """

    def __init__(self, config: RunConfig, parts: Parts, directory: Path, watch: Watch, world: World = ALONE) -> None:
        self.config, self.parts, self.directory, self.watch, self.world = config, parts, directory, watch, world

    @cached_property
    def _networks(self) -> Networks:
        """Loaded when they are first needed: training has the device for itself."""
        return self.parts.scoring.load_networks(self.parts.device) if self.parts.scoring else {}

    @cached_property
    def _real(self) -> Mapping[str, Real]:
        """What they make of the real images. `BadFile` if these are others than when the run was planned."""
        assert self.parts.scoring is not None
        real = self.parts.scoring.read(self._networks, self.parts.device, self.watch.report)
        if {one.reference.sha256 for one in real.values()} - {self.config.reference_sha256}:
            raise BadFile("The reference changed after this run was planned; give the command again.")
        return real

    def measure(self, samples: Samples) -> list[Measurement]:
        """The track's metrics."""
        scoring, world = self.parts.scoring, self.world
        self.watch.report(Progress("measure", 0.0))
        if scoring is None:
            return []
        against = (self._networks, self._real if world.main else {})
        of = (samples.pixels, samples.labels)
        return scoring.measure(*against, *of, self.parts.device, self.watch.report, world)

    def floors(self) -> list[Measurement]:
        """The same of real images that were not trained on."""
        return self.parts.scoring.floors(self._real) if self.parts.scoring and self.world.main else []

    def whole(self, network: nn.Module) -> nn.Module:
        """The network itself, which every process has; of a sharded one, a copy that every process has."""
        if not self.world.sharded:
            return network
        return gather(network, build(self.parts, self.config).to(self.parts.device)).eval()

    def milestones(self) -> list[Milestone]:
        """What has been measured on the way."""
        path = self.directory / MILESTONES_FILE
        try:
            return _Milestones.validate_json(path.read_bytes())
        except FileNotFoundError:
            return []
        except pydantic.ValidationError as error:
            raise BadFile(f"{path.name!r} in {self.directory.name!r} is wrong: {first_fault(error)}.") from None

    def at_milestone(self, trainer: Trainer, at: float, now: bool) -> None:
        """Measure the EMA weights as they are now, unless an earlier process did. `BadFile` if training has gone on."""
        done = self.world.from_main(self.milestones())
        if self.parts.scoring is None or any(milestone.at == at for milestone in done):
            return
        if not now:
            raise BadFile(f"{self.directory.name!r} is past {at:.3g} of its budget; --force trains it again.")
        metrics = self._measure_now(self.whole(trainer.ema), f"at-{at * 100:g}-percent")
        clock = trainer.clock
        found = Milestone(
            at=at,
            steps=clock.steps,
            images=clock.images,
            seconds=clock.seconds,
            flops=clock.flops,
            metrics=metrics,
        )
        if self.world.main:
            write_text(self.directory / MILESTONES_FILE, _Milestones.dump_json([*done, found], indent=1).decode())

    def _measure_now(self, denoiser: nn.Module, stem: str) -> list[Measurement]:
        """The track's metrics on the way; none if the samples are not finite, which may pass."""
        try:
            samples = draw(self.config, self.parts, denoiser, "ema", self.directory, self.watch, stem, self.world)
        except Diverged:
            return []
        if self.world.main:
            _show(samples, self.parts, self.directory / f"{stem}.png")
        metrics = self.measure(samples)
        if self.world.main:
            samples.discard()
        return metrics


def _train(config: RunConfig, parts: Parts, judge: Judge) -> tuple[nn.Module, Cost, TrainingFacts, PeakMemory]:
    """Train to the end of the budget and write both weights: the EMA network, and what it took.

    All else is freed on return.
    """
    device, directory = parts.device, judge.directory
    reset_peak(device)
    world, on_gpu = judge.world, device.type == "cuda"
    denoiser = build(parts, config)
    cost = cost_of(denoiser, parts.spec)
    clock = BudgetClock(Budget.parse(config.budget), cost.training_flops_per_image, gpus=world.size if on_gpu else 0)
    feed = Feed(parts.data, config.track.data, config.seed, device, world.rank, world.size)
    trainer = Trainer(
        denoiser, parts.spec, parts.objective, config.recipe, clock, feed, config.seed, device, world=world
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


def _show(samples: Samples, parts: Parts, path: Path) -> None:
    """The grid of samples; what is neither grey nor RGB has no picture."""
    if samples.pixels.shape[1] in (1, 3):
        write_grid(path, samples.pixels, samples.labels, parts.data.class_names)


def _raw(
    config: RunConfig, parts: Parts, judge: Judge, directory: Path, environment: Environment, watch: Watch
) -> RawWeights:
    """The same samples and metrics of the weights as training left them, by all of the judge's processes."""
    if not (directory / RAW_WEIGHTS_FILE).exists():
        raise BadFile(
            f"{directory.name!r} has no {RAW_WEIGHTS_FILE} for --raw to measure; train it again with --force."
        )
    denoiser = load_denoiser(config, parts, directory / RAW_WEIGHTS_FILE)
    samples = draw(config, parts, denoiser, "raw", directory, watch, "raw", judge.world)
    metrics = judge.measure(samples)
    if judge.world.main:
        samples.discard()
    created = datetime.now(UTC).replace(microsecond=0)
    return RawWeights(created=created, environment=environment, sampling=samples.facts, metrics=metrics)


def _data_facts(data: Data) -> DataFacts:
    return DataFacts(
        name=data.name,
        examples=len(data.examples),
        shape=data.examples.shape,
        classes=len(data.class_names),
        skipped=data.skipped,
        autoencoder=data.autoencoder_name,
        autoencoder_sha256=data.autoencoder_sha256,
    )
