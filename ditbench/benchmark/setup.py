"""Everything a run is made of, resolved and checked before anything expensive begins."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..components import Architecture, Metric, Sampler, Selection, load
from ..datasets.autoencoder import Codec, load_again
from ..datasets.examples import AutoencoderFacts, Data, Request
from ..denoiser.parametrization import scales_of, start_as_scaled
from ..denoiser_spec import DenoiserSpec, examples_of
from ..errors import BadFile, BadValue, one_line
from ..metrics.panel import Panel
from ..metrics.reference import ReferenceSource, open_source, source_of
from ..metrics.scoring import Scoring
from ..registry import Registry, pick
from ..runtime import precision
from ..runtime.compiling import way_of
from ..runtime.environment import find_device
from ..runtime.progress import Progress, ProgressCallback
from ..sampling.chosen import make_sample
from ..sampling.samplers import Sample
from ..sampling.samples import Drawing
from ..sampling.walking import Decode, SamplingPlan
from ..storage.reading import check_file, reason_of
from ..tracks.config import RunConfig
from ..tracks.plan import find_dataset
from ..tracks.track import panel
from ..training.objectives import DiffusionObjective
from ..training.spec import make_objective
from .denoising import Denoising, images_for


@dataclass(frozen=True, eq=False)
class Parts:
    """What `resolve` found."""

    architecture: Architecture
    spec: DenoiserSpec
    data: Data
    objective: DiffusionObjective
    sampler: Sampler
    sample: Sample
    scoring: Scoring | None  # None: of synthetic data nothing can be said
    denoising: Denoising | None  # None: no metric of the track sees the denoiser
    autoencoder: Codec | None  # of latents
    device: torch.device

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the images that samples become, (F, C, H, W) of clips."""
        if self.autoencoder is None:
            return self.spec.shape
        side = self.spec.resolution * self.autoencoder.facts.factor
        return *self.spec.shape[:-3], 3, side, side

    @property
    def decode(self) -> Decode:
        """What makes images of samples."""
        return (lambda x: x) if self.autoencoder is None else self.autoencoder.decode


def resolve(config: RunConfig, registry: Registry, data: Data | None = None) -> Parts:
    """Find, load and check every part; any mistake of the user's ends here, before training."""
    track = config.track
    data = data or open_data(config, registry)
    if config.data_sha256 and data.sha256 != config.data_sha256:
        raise BadFile(f"The data {data.name!r} changed after this run was planned; give the command again.")
    device, objective = find_device(config.device), make_objective(config.objective, track.name, registry)
    seen_in = precision.resolve(track.evaluation.precision, device)
    sampler = pick("sampler", track.sampler.name, registry.samplers)
    spec = _spec(data, objective)
    guidance = track.sampler.guidance
    if guidance is not None and (not spec.classes or (guidance.channels or 0) > spec.channels):
        raise BadValue(
            f"Track {track.name!r}: guidance on {guidance.channels or 'all'} channels does not fit examples of "
            f"{spec.channels} channels and {spec.classes} classes."
        )
    parts = Parts(
        architecture=_architecture(config, registry),
        spec=spec,
        data=data,
        objective=objective,
        sampler=sampler,
        sample=make_sample(track.sampler, track.name, registry),
        scoring=None if data.synthetic else _scoring(config, data, registry, seen_in),
        denoising=None if data.synthetic else _denoising(config, data, registry, spec, objective, device),
        autoencoder=_autoencoder(data, seen_in),
        device=device,
    )
    if parts.scoring is not None:
        parts.scoring.check_shape(parts.image_shape)
    if parts.denoising is not None:
        parts.denoising.check(track.name)
    return parts


def open_data(config: RunConfig, registry: Registry, report: ProgressCallback = lambda progress: None) -> Data:
    """The track's data, or what stands in for it; `DitbenchError` if it is missing, damaged or of another kind."""
    track, asked = config.track, config.track.data
    dataset, place = find_dataset(registry, track, config.data)

    def told(done: int, of: int) -> None:
        report(Progress("data", done / max(1, of), done))

    data: Data = load(dataset.load)(
        Request(
            resolution=asked.resolution,
            frames=asked.frames,
            interval=asked.interval,
            space=track.space,
            place=place,
            downsampling=asked.downsampling,
            channels=asked.channels,
            images=asked.images,
            classes=asked.classes,
            skip_bad=config.skip_bad,
            offline=config.offline,
            report=told,
        )
    )
    if data.space != track.space:
        raise BadFile(f"Track {track.name!r} works on {track.space}s, but {data.name!r} holds {data.space}s.")
    if data.examples.frames != asked.frames:
        meant, found = map(examples_of, (asked.frames, data.examples.frames))
        raise BadFile(f"Track {track.name!r} is of {meant}, and {data.name!r} holds {found}.")
    if not re.fullmatch("[0-9a-f]{64}", data.sha256):  # a record could not be written at the end
        raise BadFile(f"The data {data.name!r} gives {data.sha256!r} as its sha256; it should be 64 of 0-9 and a-f.")
    return data.normalise() if asked.normalise == "channel" else data


def _spec(data: Data, objective: DiffusionObjective) -> DenoiserSpec:
    channels, side, _ = data.examples.shape[-3:]
    return DenoiserSpec(
        channels=channels,
        resolution=side,
        frames=data.examples.frames,
        classes=len(data.class_names),
        space=data.space,
        learn_variance=objective.learn_variance,
    )


def _architecture(config: RunConfig, registry: Registry) -> Architecture:
    """The architecture that was planned; edited since then, it would be another one under the same name."""
    known, name = registry.architectures, config.architecture
    if name not in known or registry.source_sha256(name) != config.source_sha256:
        raise BadFile(f"The source of {name!r} changed after this run was planned; give the command again.")
    return known[name]


def _scoring(config: RunConfig, data: Data, registry: Registry, seen_in: precision.Precision) -> Scoring:
    """The track's metrics and what they compare with: the reference that was given, or else the training images."""
    if config.reference:
        source = open_source(Path(config.reference).absolute())  # a plugin may change the working directory
    elif data.images is not None:
        source = source_of(data.images, "training")
    else:
        raise BadFile(
            f"The images that {data.name!r} was made of are gone or changed. {data.images_gone} Give real images, or "
            "their moments, to compare the samples with, by `reference`."
        )
    chosen = [(_metric(name, source, data, registry), features) for name, features in config.track.evaluation.choices]
    of_images = [(one, features) for one, features in chosen if one.sees not in ("denoiser", "distances")]
    return Scoring(
        metrics=tuple((one, pick("extractor", features, registry.extractors)) for one, features in of_images),
        source=source,
        data=data,
        precision=seen_in,
        interval=config.track.data.interval,
        panels=tuple(Panel(one, tuple(panel(features))) for one, features in chosen if one.sees == "distances"),
    )


def _denoising(
    config: RunConfig,
    data: Data,
    registry: Registry,
    spec: DenoiserSpec,
    objective: DiffusionObjective,
    device: torch.device,
) -> Denoising | None:
    asked = config.track.evaluation
    chosen = (pick("metric", name, registry.metrics) for name, _ in asked.choices)
    metrics = tuple(metric for metric in chosen if metric.sees == "denoiser")
    images, seen_in = images_for(asked.denoised, data), precision.resolve(config.recipe.precision, device)
    if not metrics:
        return None
    return Denoising(
        metrics=metrics,
        data=data,
        images=images,
        spec=spec,
        objective=objective,
        batch_size=config.track.sampler.batch_size,
        precision=seen_in,
        compiled=way_of(config.recipe.compile, device) != "off",
        device=device,
    )


def _metric(name: str, source: ReferenceSource, data: Data, registry: Registry) -> Metric:
    metric = pick("metric", name, registry.metrics)
    load(metric.measure)
    if reason := source.impossible(metric):
        raise BadValue(f"{reason}.")
    if metric.against == "held-out" and data.held_out is None:
        raise BadValue(f"Metric {metric.name!r} needs held-out images, and the data {data.name!r} has none.")
    if metric.sees == "distances" and source.images is None and data.held_out is None:
        raise BadValue(f"Metric {name!r} needs real images, and the reference {source.name!r} has only their moments.")
    return metric


def _autoencoder(data: Data, decodes_in: precision.Precision) -> Codec | None:
    if data.autoencoder is None or data.autoencoder_folder is None:
        return None
    found = _read_autoencoder(data.autoencoder_folder, data.autoencoder)
    return replace(found, precision=decodes_in, seen=data.latent_map)


@lru_cache(maxsize=1)  # the runs of a plan have one
def _read_autoencoder(folder: Path, facts: AutoencoderFacts) -> Codec:
    return load_again(folder, facts)


def build(parts: Parts, config: RunConfig) -> nn.Module:
    """The run's denoiser, initialised from the run's seed."""
    torch.manual_seed(config.seed)
    return load(parts.architecture.build)(parts.spec, **config.build_settings)  # type: ignore[no-any-return]


def build_to_train(parts: Parts, config: RunConfig) -> tuple[nn.Module, dict[str, float] | None]:
    """The run's denoiser as training begins, and what rates its recipe's parametrization makes of the learning rate.

    They are by parameter, what the learning rate is multiplied with; None: every parameter has the recipe's.
    """
    denoiser = build(parts, config)
    if config.recipe.parametrization == "standard":
        return denoiser, None
    chosen = selected(parts, config)
    scales = scales_of(chosen, parts.spec)
    start_as_scaled(denoiser, scales, chosen, parts.spec, config.seed)
    return denoiser, {name: scale.rate for name, scale in scales.items()}


def selected(parts: Parts, config: RunConfig) -> Selection:
    """The architecture as the user chose it."""
    return Selection(architecture=parts.architecture, size=config.size, options=config.options)


def drawing_of(config: RunConfig, parts: Parts) -> Drawing:
    """The samples that the run's track asks for; where nothing measures them, one batch, to be timed."""
    asked, choice = config.track.evaluation, config.track.sampler
    plan = SamplingPlan(
        sample=parts.sample,
        objective=parts.objective,
        steps=choice.steps,
        seed=config.seed,
        guidance=choice.guidance,
        labels=asked.labels,
        decode=parts.decode,
        precision=precision.resolve(config.recipe.precision, parts.device),
        compiled=way_of(config.recipe.compile, parts.device),
    )
    return Drawing(
        plan=plan,
        spec=parts.spec,
        sampler=parts.sampler.name,
        count=asked.samples if parts.scoring else min(asked.samples, choice.batch_size),
        batch_size=choice.batch_size,
        image_shape=parts.image_shape,
        device=parts.device,
        autoencoder=parts.autoencoder,
    )


def load_denoiser(config: RunConfig, parts: Parts, weights: Path) -> nn.Module:
    """The run's denoiser with the weights of a safetensors file; `BadFile` if they are not its own."""
    denoiser = build(parts, config).to(parts.device)
    load_weights(denoiser, weights, config.label, parts.spec)
    return denoiser


def load_weights(denoiser: nn.Module, weights: Path, label: str, spec: DenoiserSpec) -> None:
    """Give a denoiser, of that label and spec, the weights of a safetensors file; `BadFile` if they are not its own."""
    check_file(weights, "file of weights")  # the library would wait for a pipe
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise BadFile(f"The weights {str(weights)!r} can't be read: {reason_of(error)}.") from None
    try:
        _check_numbers(weights, tensors, denoiser)
        denoiser.load_state_dict(tensors)
    except RuntimeError as error:  # names or shapes
        reason = _misfit(tensors, denoiser.state_dict()) or one_line(error)[:200]
        raise BadFile(f"The weights {str(weights)!r} are not of {label} for {spec}: {reason}.") from None


def _misfit(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    """What of a file's tensors is not as the network has it; of each kind how many, and the first."""
    missing, surplus = [name for name in own if name not in tensors], [name for name in tensors if name not in own]
    told = []
    if missing:
        told.append(f"it lacks {len(missing)} of {len(own)} tensors, such as {missing[0]!r}")
    if surplus:
        told.append(f"it has {len(surplus)} others, such as {surplus[0]!r}")
    for name, found in tensors.items():
        if name in own and own[name].shape != found.shape:
            told.append(f"{name!r} is of shape {tuple(found.shape)}, not {tuple(own[name].shape)}")
            break
    return "; ".join(told)


def _check_numbers(weights: Path, tensors: dict[str, Tensor], denoiser: nn.Module) -> None:
    """`BadFile` for what loading would round or take silently: whole numbers as weights, infinity, NaN.

    A table of the network's own, such as a mask, may hold infinity.
    """
    for name, own in denoiser.state_dict().items():
        found = tensors.get(name, own)
        if found.is_floating_point() != own.is_floating_point():
            raise BadFile(f"The weights {str(weights)!r} have {found.dtype} in {name!r}, which is {own.dtype}.")
        if own.isfinite().all() and not found.to(own.dtype).isfinite().all():
            raise BadFile(f"The weights {str(weights)!r} have an infinite number or NaN in {name!r}, as {own.dtype}.")
