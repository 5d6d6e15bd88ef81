"""The protocol, top to bottom: data, train, sample, measure, record."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from . import sampling
from .budget import Budget
from .components import Architecture, DenoiserSpec, Metric, Sampler, load
from .cost import cost_of, peak_memory, reset_peak, resident
from .datasets import Images
from .environment import describe, find_device
from .errors import BadFile, BadValue, DitbenchError
from .features import Extractor, extract, find_extractor
from .images import Bytes, write_grid, write_samples
from .objectives import DiffusionObjective
from .quality import floor, measure
from .record import (
    SAMPLES_FILE,
    Cost,
    Environment,
    Measurement,
    Memory,
    PeakMemory,
    Record,
    SamplingFacts,
    TrainingFacts,
    identity,
)
from .registry import Registry, pick
from .samplers import Sample
from .storage import write_atomically
from .track import RunConfig, Track
from .training import Trainer, train
from .watch import Progress, Watch

GRID_FILE = "samples.png"
WEIGHTS_FILE = "ema.safetensors"
FLOOR_SPLITS = 5
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parts:
    """Everything a run is made of, resolved and checked, before anything expensive."""

    architecture: Architecture
    spec: DenoiserSpec
    data: Images
    objective: DiffusionObjective
    sampler: Sampler
    sample: Sample
    metrics: tuple[Metric, ...]
    extractor: Extractor
    device: torch.device


def check(configs: Sequence[RunConfig], registry: Registry) -> tuple[str, Environment]:
    """Resolve all runs and build their networks without memory: (device, environment), or a `DitbenchError`.

    A network that breaks in any other way is left to its own run, which will fail for itself.
    """
    device = find_device(configs[0].device)
    for config in configs:
        parts = resolve(config, registry)
        try:
            with torch.device("meta"):
                build(parts, config)
        except DitbenchError:
            raise
        except Exception:
            continue
    return str(device), describe(device)


def resolve(config: RunConfig, registry: Registry) -> Parts:
    """Find, load and check every part; any mistake of the user's ends here, before training."""
    track = config.track
    data, objective = _data(track, registry), _objective(track, registry)
    guidance = track.sampler.guidance
    if guidance is not None and (not data.class_names or (guidance.channels or 0) > data.pixels.shape[1]):
        raise BadValue(
            f"Track {track.name!r}: guidance on {guidance.channels or 'all'} channels does not fit images of "
            f"{data.pixels.shape[1]} channels and {len(data.class_names)} classes."
        )
    extractor = find_extractor(track.evaluation.features, data.pixels.shape[1:])
    extractor.load()
    sampler = pick("sampler", track.sampler.name, registry.samplers)
    metrics = tuple(pick("metric", name, registry.metrics) for name in track.evaluation.metrics)
    for metric in metrics:
        load(metric.measure)
    return Parts(
        architecture=_architecture(config, registry),
        spec=_spec(track, data, objective),
        data=data,
        objective=objective,
        sampler=sampler,
        sample=load(sampler.sample),
        metrics=metrics,
        extractor=extractor,
        device=find_device(config.device),
    )


def spec_of(track: Track, registry: Registry) -> DenoiserSpec:
    """What a track asks of its denoisers; the data set is loaded for its shape."""
    return _spec(track, _data(track, registry), _objective(track, registry))


def _spec(track: Track, data: Images, objective: DiffusionObjective) -> DenoiserSpec:
    return DenoiserSpec(
        channels=data.pixels.shape[1],
        resolution=data.pixels.shape[2],
        classes=len(data.class_names),
        space=track.space,
        learn_variance=objective.learn_variance,
    )


def _data(track: Track, registry: Registry) -> Images:
    return load(pick("dataset", track.dataset, registry.datasets).load)()  # type: ignore[no-any-return]


def _architecture(config: RunConfig, registry: Registry) -> Architecture:
    """The architecture that was planned; edited since then, it would be another one under the same name."""
    known, name = registry.architectures, config.architecture
    if name not in known or registry.source_sha256(name) != config.source_sha256:
        raise BadFile(f"The source of {name!r} changed after this run was planned; give the command again.")
    return known[name]


def _objective(track: Track, registry: Registry) -> DiffusionObjective:
    chosen = track.objective
    objective = pick("objective", chosen.name, registry.objectives)
    try:
        return load(objective.make)(**{**objective.settings, **chosen.settings})  # type: ignore[no-any-return]
    except (TypeError, BadValue) as error:
        raise BadValue(f"Objective {chosen.name!r} of track {track.name!r}: {str(error).rstrip('.')}.") from None


def build(parts: Parts, config: RunConfig) -> nn.Module:
    """The run's denoiser, initialised from the run's seed."""
    torch.manual_seed(config.seed)
    return load(parts.architecture.build)(parts.spec, **config.settings)  # type: ignore[no-any-return]


def run(config: RunConfig, directory: Path, environment: Environment, registry: Registry, watch: Watch) -> Record:
    """Carry out one run in its directory and return its finished record.

    Resumes from the directory's checkpoint. Leaves ``curve.jsonl``, ``ema.safetensors`` and ``samples.png``
    there, and ``samples.npz`` when asked to keep the samples. Raises `Diverged` or `Interrupted`.
    """
    parts = resolve(config, registry)
    at_start = resident()

    ema, cost, training, training_peak = _train(config, parts, directory, watch)
    weights = {name: tensor.contiguous().cpu() for name, tensor in ema.state_dict().items()}
    write_atomically(directory / WEIGHTS_FILE, lambda temporary: save_file(weights, temporary))

    reset_peak(parts.device)
    pixels, labels, facts = _sample(config, parts, ema, watch)
    sampling_peak = peak_memory(parts.device) if parts.device.type == "cuda" else PeakMemory()
    write_grid(directory / GRID_FILE, pixels, labels.tolist(), parts.data.class_names)
    if config.keep_samples:
        write_samples(directory / SAMPLES_FILE, pixels, labels)

    watch.report(Progress("measure", 0.0))
    metrics, floors = _measure(parts, pixels, labels)
    return Record(
        **identity(config),
        status="finished",
        environment=environment,
        cost=cost,
        training=training,
        sampling=facts,
        memory=Memory(resident_at_start=at_start, training=training_peak, sampling=sampling_peak),
        data_sha256=parts.data.sha256,
        metrics=metrics,
        floors=floors,
    )


def sample_again(config: RunConfig, directory: Path, record: Record, registry: Registry, watch: Watch) -> None:
    """Write ``samples.npz`` of a finished run from its weights; `BadFile` if they no longer give its images."""
    parts = resolve(config, registry)
    denoiser = build(parts, config).to(parts.device)
    denoiser.load_state_dict(load_file(directory / WEIGHTS_FILE))
    pixels, labels, facts = _sample(config, parts, denoiser, watch)
    if record.sampling is None or facts.images_sha256 != record.sampling.images_sha256:
        raise BadFile(f"The weights in {directory.name!r} no longer give the images of its record. Use --force.")
    write_samples(directory / SAMPLES_FILE, pixels, labels)


def _train(
    config: RunConfig, parts: Parts, directory: Path, watch: Watch
) -> tuple[nn.Module, Cost, TrainingFacts, PeakMemory]:
    """Train to the end of the budget: the EMA network, and what it took. All else is freed on return."""
    reset_peak(parts.device)
    denoiser = build(parts, config).to(parts.device)
    cost = cost_of(denoiser, parts.spec)
    budget, data = Budget.parse(config.budget), parts.data
    trainer = Trainer(
        denoiser,
        parts.spec,
        parts.objective,
        config.track.recipe,
        budget,
        data.pixels,
        data.labels,
        config.seed,
        parts.device,
    )
    train(trainer, directory, config.hash, config.checkpoint_seconds, watch)
    return trainer.ema, cost, trainer.facts(), peak_memory(parts.device)


def _sample(config: RunConfig, parts: Parts, denoiser: nn.Module, watch: Watch) -> tuple[Bytes, Labels, SamplingFacts]:
    """The track's samples, their labels, and how they came about."""
    choice, count = config.track.sampler, config.track.evaluation.samples
    batches: list[sampling.Batch] = []
    done = 0
    plan = sampling.Plan(parts.sample, parts.objective, choice.steps, config.seed, choice.guidance)
    for batch in sampling.generate(denoiser, parts.spec, plan, range(count), choice.batch_size, parts.device):
        watch.check()
        batches.append(batch)
        done += len(batch.labels)
        watch.report(Progress("sample", done / count, done, len(batch.labels) / batch.seconds))
    pixels = np.concatenate([batch.pixels for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    facts = SamplingFacts(
        sampler=parts.sampler.name,
        steps=choice.steps,
        evaluations=batches[0].evaluations,
        weights="ema",
        labels_sha256=sampling.labels_sha256(labels),
        images_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        batch_images=[len(batch.labels) for batch in batches],
        batch_seconds=[round(batch.seconds, 6) for batch in batches],
    )
    return pixels, labels, facts


def _measure(parts: Parts, pixels: Bytes, labels: Labels) -> tuple[list[Measurement], list[Measurement]]:
    """The metrics of the samples against all real images, and of random halves of the real ones."""
    network = parts.extractor.load()
    real = extract(network, parts.data.pixels, parts.data.labels)
    fake = extract(network, pixels, labels)
    metrics = [measure(metric, fake, real, parts.extractor) for metric in parts.metrics]
    floors = [floor(metric, real, parts.extractor, FLOOR_SPLITS) for metric in parts.metrics]
    return metrics, floors
