"""The protocol, top to bottom: data, train, sample, measure, record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from . import sampling
from .budget import Budget
from .components import Architecture, DenoiserSpec, Metric, Sampler, load
from .cost import PeakMemory, cost_of, resident
from .datasets import Images
from .environment import describe
from .errors import BadValue
from .features import Evidence, Extractor, extract, find_extractor
from .images import Bytes, write_grid, write_samples
from .objectives import DiffusionObjective
from .quality import measure
from .record import (
    Cost,
    Measurement,
    Memory,
    Record,
    SamplingFacts,
    TrainingFacts,
    identity,
)
from .registry import Registry, pick
from .storage import write_atomically
from .track import RunConfig
from .training import Progress, Trainer, Watch, train

GRID_FILE = "samples.png"
SAMPLES_FILE = "samples.npz"
WEIGHTS_FILE = "ema.safetensors"


@dataclass(frozen=True, eq=False)
class Parts:
    """Everything a run is made of, resolved and checked, before anything expensive."""

    architecture: Architecture
    spec: DenoiserSpec
    data: Images
    objective: DiffusionObjective
    sampler: Sampler
    metrics: tuple[Metric, ...]
    extractor: Extractor
    cost: Cost
    device: torch.device


def resolve(config: RunConfig, registry: Registry) -> Parts:
    """Find, load and check every part; any mistake of the user's ends here, before training."""
    track = config.track
    architecture = pick("architecture", config.architecture, registry.architectures)
    data: Images = load(pick("dataset", track.dataset, registry.datasets).load)()
    objective = _objective(config, registry)
    extractor = find_extractor(track.evaluation.features, data.pixels.shape[1:])
    extractor.load()
    spec = DenoiserSpec(
        channels=data.pixels.shape[1],
        resolution=data.pixels.shape[2],
        classes=len(data.class_names),
        space=track.space,
        learn_variance=objective.learn_variance,
    )
    with torch.device("meta"):
        cost = cost_of(build(architecture, spec, config), spec)
    return Parts(
        architecture=architecture,
        spec=spec,
        data=data,
        objective=objective,
        sampler=pick("sampler", track.sampler.name, registry.samplers),
        metrics=tuple(pick("metric", name, registry.metrics) for name in track.evaluation.metrics),
        extractor=extractor,
        cost=cost,
        device=find_device(config.device),
    )


def _objective(config: RunConfig, registry: Registry) -> DiffusionObjective:
    chosen = config.track.objective
    make = load(pick("objective", chosen.name, registry.objectives).make)
    try:
        return make(**chosen.settings)  # type: ignore[no-any-return]
    except TypeError as error:
        raise BadValue(f"Objective {chosen.name!r} of track {config.track.name!r}: {error}.") from None


def build(architecture: Architecture, spec: DenoiserSpec, config: RunConfig) -> nn.Module:
    """The run's denoiser, initialised from the run's seed."""
    torch.manual_seed(config.seed)
    return load(architecture.build)(spec, **architecture.settings(config.size, config.options))  # type: ignore[no-any-return]


def find_device(name: str) -> torch.device:
    """``auto`` is the first GPU if there is one; a named device must exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadValue(
            f"Device {name!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices. Try --device cpu."
        )
    return device


def run(config: RunConfig, registry: Registry, directory: Path, watch: Watch) -> Record:
    """Carry out one run in its directory and return its finished record.

    Resumes from the directory's checkpoint. Leaves ``curve.jsonl``, ``ema.safetensors`` and ``samples.png``
    there, and ``samples.npz`` when asked to keep the samples. Raises `Diverged` or `Interrupted`.
    """
    parts = resolve(config, registry)
    at_start = resident()

    memory = PeakMemory(parts.device)
    trainer = Trainer(
        build(parts.architecture, parts.spec, config),
        parts.spec,
        parts.objective,
        config.track.recipe,
        Budget.parse(config.budget),
        parts.data.pixels,
        parts.data.labels,
        config.seed,
        parts.device,
    )
    train(trainer, directory, config.hash, config.checkpoint_seconds, watch)
    trained = memory.resident, memory.allocated, memory.reserved
    weights = {name: tensor.contiguous().cpu() for name, tensor in trainer.ema.state_dict().items()}
    write_atomically(directory / WEIGHTS_FILE, lambda temporary: save_file(weights, temporary))

    memory = PeakMemory(parts.device)
    batches = _sample(config, parts, trainer.ema, watch)
    sampled = memory.resident, memory.allocated, memory.reserved
    pixels = np.concatenate([batch.pixels for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    write_grid(directory / GRID_FILE, pixels, labels.tolist(), parts.data.class_names)
    if config.keep_samples:
        write_samples(directory / SAMPLES_FILE, pixels, labels)

    watch.report(Progress("measure", 0.0))
    metrics, floors = _measure(parts, pixels, labels)
    return Record(
        **identity(config, parts.architecture),
        status="finished",
        environment=describe(parts.device),
        cost=parts.cost,
        training=_training_facts(trainer),
        sampling=_sampling_facts(config, parts, batches, pixels, labels),
        memory=Memory(
            training_peak_resident=trained[0],
            sampling_peak_resident=sampled[0],
            resident_at_start=at_start if parts.device.type == "cpu" else None,
            training_peak_allocated=trained[1],
            training_peak_reserved=trained[2],
            sampling_peak_allocated=sampled[1],
            sampling_peak_reserved=sampled[2],
        ),
        data_sha256=parts.data.sha256,
        metrics=metrics,
        floors=floors,
    )


def _sample(config: RunConfig, parts: Parts, denoiser: nn.Module, watch: Watch) -> list[sampling.Batch]:
    choice, count = config.track.sampler, config.track.evaluation.samples
    batches: list[sampling.Batch] = []
    done = 0
    for batch in sampling.generate(
        denoiser,
        parts.spec,
        load(parts.sampler.sample),
        choice.steps,
        count,
        choice.batch_size,
        config.seed,
        parts.device,
    ):
        watch.check()
        batches.append(batch)
        done += len(batch.labels)
        watch.report(Progress("sample", done / count, done, len(batch.labels) / batch.seconds))
    return batches


def _measure(parts: Parts, pixels: Bytes, labels: np.ndarray) -> tuple[list[Measurement], list[Measurement]]:
    """The metrics of the samples against all real images, and of one real half against the other."""
    network = parts.extractor.load()

    def evidence(images: Bytes, of: np.ndarray) -> Evidence:
        return extract(network, images, torch.from_numpy(of))

    real, fake = evidence(parts.data.pixels, parts.data.labels), evidence(pixels, labels)
    one, other = (evidence(half.pixels, half.labels) for half in parts.data.halves())
    metrics = [measure(metric, fake, real, parts.extractor) for metric in parts.metrics]
    floors = [measure(metric, other, one, parts.extractor) for metric in parts.metrics]
    return metrics, floors


def _training_facts(trainer: Trainer) -> TrainingFacts:
    return TrainingFacts(
        batch_size=trainer.recipe.batch_size,
        steps=trainer.clock.steps,
        images=trainer.clock.images,
        seconds=trainer.clock.seconds,
        final_loss=trainer.curve[-1]["loss"] if trainer.curve else None,
        step_seconds=[round(seconds, 6) for seconds in trainer.times.seconds],
        step_stride=trainer.times.stride,
        resumed=trainer.resumed,
    )


def _sampling_facts(
    config: RunConfig, parts: Parts, batches: list[sampling.Batch], pixels: Bytes, labels: np.ndarray
) -> SamplingFacts:
    return SamplingFacts(
        sampler=parts.sampler.name,
        steps=config.track.sampler.steps,
        evaluations=config.track.sampler.steps * parts.sampler.evaluations_per_step,
        weights="ema",
        labels_sha256=sampling.labels_sha256(labels),
        images_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        batch_images=[len(batch.labels) for batch in batches],
        batch_seconds=[round(batch.seconds, 6) for batch in batches],
    )
