"""The protocol, top to bottom: data, train, sample, measure, record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from . import sampling
from .budget import Budget
from .components import Architecture, DenoiserSpec, Extractor, Metric, Sampler, load
from .cost import cost_of, peak_memory, reset_peak, resident
from .datasets import Images
from .environment import describe, find_device
from .errors import BadFile, BadValue, DitbenchError
from .features import BATCH_SIZE, Features, check_shape, extract, load_extractor
from .image_sets import in_memory
from .images import Bytes, write_grid, write_samples
from .objectives import DiffusionObjective
from .quality import floors, measure_all, outputs_for
from .record import (
    GRID_FILE,
    SAMPLES_FILE,
    Cost,
    Environment,
    Measurement,
    Memory,
    PeakMemory,
    RawWeights,
    Record,
    SamplingFacts,
    TrainingFacts,
    identity,
)
from .reference import Reference, source_of
from .registry import Registry, pick
from .samplers import Sample
from .storage import write_atomically
from .track import RunConfig, Track
from .training import Trainer, train
from .watch import Progress, Watch

WEIGHTS_FILE, RAW_WEIGHTS_FILE = "ema.safetensors", "raw.safetensors"
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
    metrics: tuple[tuple[Metric, Extractor], ...]
    device: torch.device


def check(configs: Sequence[RunConfig], registry: Registry) -> tuple[str, Environment]:
    """Resolve all runs and build their networks without memory: (device, environment), or a `DitbenchError`.

    A network that breaks in any other way is left to its own run, which will fail for itself.
    """
    device = find_device(configs[0].device)
    for config in configs:
        parts = resolve(config, registry)
        if config is configs[0]:
            load_networks(parts)  # the track's, so the same for all
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
    device, sampler = find_device(config.device), pick("sampler", track.sampler.name, registry.samplers)
    metrics = tuple(
        (pick("metric", metric, registry.metrics), pick("extractor", extractor, registry.extractors))
        for metric, extractor in track.evaluation.choices
    )
    for metric, extractor in metrics:
        load(metric.measure)
        check_shape(extractor, data.pixels.shape[1:])
    return Parts(
        architecture=_architecture(config, registry),
        spec=_spec(track, data, objective),
        data=data,
        objective=objective,
        sampler=sampler,
        sample=load(sampler.sample),
        metrics=metrics,
        device=device,
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

    Resumes from the directory's checkpoint. Leaves ``curve.jsonl``, ``ema.safetensors``, ``raw.safetensors`` and
    ``samples.png`` there, and ``samples.npz`` when asked to keep the samples. Raises `Diverged` or `Interrupted`.
    """
    parts = resolve(config, registry)
    networks, at_start = load_networks(parts), resident()

    ema, cost, training, training_peak = _train(config, parts, directory, watch)

    reset_peak(parts.device)
    pixels, labels, facts = _sample(config, parts, ema, watch, "ema")
    sampling_peak = peak_memory(parts.device) if parts.device.type == "cuda" else PeakMemory()
    write_grid(directory / GRID_FILE, pixels, labels.tolist(), parts.data.class_names)
    if config.keep_samples:
        write_samples(directory / SAMPLES_FILE, pixels, labels)

    watch.report(Progress("measure", 0.0))
    features = _features(parts, networks, pixels, labels)
    metrics, by_chance = _measure(parts, features), _floors(parts, features)
    raw = _raw(config, parts, networks, directory, environment, watch) if config.raw_weights else None
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
        floors=by_chance,
        raw=raw,
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
        pixels, labels, facts = _sample(config, parts, denoiser, watch, "ema")
        if record.sampling is None or facts.images_sha256 != record.sampling.images_sha256:
            raise BadFile(f"The weights in {directory.name!r} no longer give the images of its record. Use --force.")
        write_samples(directory / SAMPLES_FILE, pixels, labels)
    if config.raw_weights and record.raw is None:
        raw = _raw(config, parts, load_networks(parts), directory, environment, watch)
        return record.model_copy(update={"raw": raw})
    return record


def load_networks(parts: Parts) -> dict[str, nn.Module]:
    """The extractors' networks, by name; `DitbenchError` if their weights are missing or are others."""
    extractors = {extractor.name: extractor for _, extractor in parts.metrics}
    return {name: load_extractor(extractor, device=parts.device) for name, extractor in extractors.items()}


def load_denoiser(config: RunConfig, parts: Parts, weights: Path) -> nn.Module:
    """The run's denoiser with the weights of a safetensors file; `BadFile` if they are not its own."""
    denoiser = build(parts, config).to(parts.device)
    if weights.is_dir():
        raise BadFile(f"The weights {str(weights)!r} are a folder; give the safetensors file.")
    try:
        denoiser.load_state_dict(load_file(weights))
    except (OSError, SafetensorError) as error:
        raise BadFile(f"The weights {str(weights)!r} can't be read ({' '.join(str(error).split())}).") from None
    except RuntimeError as error:  # names or shapes
        reason = " ".join(str(error).split())[:200]
        raise BadFile(f"The weights {str(weights)!r} are not of {config.label} for {parts.spec}: {reason}.") from None
    return denoiser


def _train(
    config: RunConfig, parts: Parts, directory: Path, watch: Watch
) -> tuple[nn.Module, Cost, TrainingFacts, PeakMemory]:
    """Train to the end of the budget and write both weights: the EMA network, and what it took.

    All else is freed on return.
    """
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
    _write_weights(directory / WEIGHTS_FILE, trainer.ema)
    _write_weights(directory / RAW_WEIGHTS_FILE, denoiser)
    return trainer.ema, cost, trainer.facts(), peak_memory(parts.device)


def _write_weights(path: Path, network: nn.Module) -> None:
    weights = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(weights, temporary))


def sample_batches(config: RunConfig, parts: Parts, denoiser: nn.Module) -> Iterator[sampling.Batch]:
    """The track's samples, batch by batch."""
    choice, indices = config.track.sampler, range(config.track.evaluation.samples)
    plan = sampling.Plan(parts.sample, parts.objective, choice.steps, config.seed, choice.guidance)
    return sampling.generate(denoiser, parts.spec, plan, indices, choice.batch_size, parts.device)


def _sample(
    config: RunConfig, parts: Parts, denoiser: nn.Module, watch: Watch, weights: Literal["ema", "raw"]
) -> tuple[Bytes, Labels, SamplingFacts]:
    """The track's samples, their labels, and how they came about."""
    count = config.track.evaluation.samples
    batches: list[sampling.Batch] = []
    done = 0
    for batch in sample_batches(config, parts, denoiser):
        watch.check()
        batches.append(batch)
        done += len(batch.labels)
        watch.report(Progress("sample", done / count, done, len(batch.labels) / batch.seconds))
    pixels = np.concatenate([batch.pixels for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    facts = SamplingFacts(
        sampler=parts.sampler.name,
        steps=config.track.sampler.steps,
        evaluations=batches[0].evaluations,
        weights=weights,
        labels_sha256=sampling.labels_sha256(labels),
        images_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        batch_images=[len(batch.labels) for batch in batches],
        batch_seconds=[round(batch.seconds, 6) for batch in batches],
    )
    return pixels, labels, facts


def _raw(
    config: RunConfig,
    parts: Parts,
    networks: Mapping[str, nn.Module],
    directory: Path,
    environment: Environment,
    watch: Watch,
) -> RawWeights:
    """The same samples and metrics of the weights as training left them."""
    if not (directory / RAW_WEIGHTS_FILE).exists():
        raise BadFile(
            f"{directory.name!r} has no {RAW_WEIGHTS_FILE} for --raw to measure; train it again with --force."
        )
    denoiser = load_denoiser(config, parts, directory / RAW_WEIGHTS_FILE)
    pixels, labels, facts = _sample(config, parts, denoiser, watch, "raw")
    metrics = _measure(parts, _features(parts, networks, pixels, labels))
    created = datetime.now(UTC).replace(microsecond=0)
    return RawWeights(created=created, environment=environment, sampling=facts, metrics=metrics)


def _features(
    parts: Parts, networks: Mapping[str, nn.Module], pixels: Bytes, labels: Labels
) -> dict[str, tuple[Features, Reference]]:
    """What each extractor makes of the samples and of all real images."""
    return {name: _seen_by(parts, name, network, pixels, labels) for name, network in networks.items()}


def _seen_by(parts: Parts, name: str, network: nn.Module, pixels: Bytes, labels: Labels) -> tuple[Features, Reference]:
    data, (extractor, metrics) = parts.data, _by_extractor(parts)[name]
    fake = extract(network, in_memory("", pixels, "").batches(BATCH_SIZE), outputs_for(metrics), device=parts.device)
    source = source_of(in_memory(data.name, data.pixels, data.sha256))
    real = source.read(extractor, network, metrics, parts.device)
    with_pixels = replace(real.features, pixels=data.pixels, labels=data.labels)
    return replace(fake, pixels=pixels, labels=labels), replace(real, features=with_pixels)


def _by_extractor(parts: Parts) -> dict[str, tuple[Extractor, list[Metric]]]:
    """The track's metrics, those of an extractor together."""
    names = {extractor.name: extractor for _, extractor in parts.metrics}
    return {
        name: (extractor, [metric for metric, chosen in parts.metrics if chosen is extractor])
        for name, extractor in names.items()
    }


def _measure(parts: Parts, features: Mapping[str, tuple[Features, Reference]]) -> list[Measurement]:
    """The metrics of the samples against all real images, in the track's order."""
    found = {}
    for name, (extractor, metrics) in _by_extractor(parts).items():
        fake, real = features[name]
        found[name] = iter(measure_all(metrics, fake, real.features, extractor, real.sha256))
    return [next(found[extractor.name]) for _, extractor in parts.metrics]


def _floors(parts: Parts, features: Mapping[str, tuple[Features, Reference]]) -> list[Measurement]:
    """The metrics between random halves of the real images, in the track's order."""
    found = {}
    for name, (extractor, metrics) in _by_extractor(parts).items():
        real = features[name][1]
        found[name] = iter(floors(metrics, real.features, extractor, real.sha256))
    return [next(found[extractor.name]) for _, extractor in parts.metrics]
