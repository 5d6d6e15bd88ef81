"""Everything a run is made of, resolved and checked before anything expensive begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from . import sampling
from .autoencoder import Autoencoder, load_autoencoder
from .components import Architecture, DenoiserSpec, Extractor, Metric, Sampler, load
from .datasets.examples import Data, Request
from .environment import describe, find_device
from .errors import BadFile, BadValue, DitbenchError
from .ledger import data_of
from .objectives import DiffusionObjective
from .plan import find_dataset
from .record import Environment
from .reference import Source, open_source, source_of
from .registry import Registry, pick
from .samplers import Sample
from .scoring import Scoring
from .track import ObjectiveChoice, RunConfig, Track
from .watch import Progress

Report = Callable[[Progress], None]


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
    autoencoder: Autoencoder | None  # of latents
    device: torch.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that samples become."""
        if self.autoencoder is None:
            return self.spec.channels, self.spec.resolution, self.spec.resolution
        side = self.spec.resolution * self.autoencoder.factor
        return 3, side, side

    @property
    def decode(self) -> sampling.Decode:
        """What makes images of samples."""
        return (lambda x: x) if self.autoencoder is None else self.autoencoder.decode


@dataclass(frozen=True)
class Checked:
    """What is known of all runs of a plan once their parts have been opened."""

    device: str
    environment: Environment
    data_sha256: str
    reference_sha256: str
    deviations: tuple[str, ...]


def check(
    configs: Sequence[RunConfig],
    registry: Registry,
    report: Report = lambda progress: None,
    processes: int = 1,
    parallel: int = 1,
) -> Checked:
    """Open the data, read the reference, and build every network without memory; or a `DitbenchError`.

    What takes long (images to prepare, features of the real images) lands in the cache, so the runs find it there. A
    network that breaks in any other way is left to its own run, which will fail for itself. This process keeps as many
    threads as each of `parallel` runs at a time will have.
    """
    first = configs[0]
    device = find_device(first.device)
    _check_processes(configs, device, processes)
    _check_parallel(device, processes, parallel)
    torch.set_num_threads(max(1, torch.get_num_threads() // parallel))
    data = open_data(first, registry, report)
    for config in configs:
        parts = resolve(config, registry, data)
        try:
            with torch.device("meta"):
                build(parts, config)
        except DitbenchError:
            raise
        except Exception:
            continue
    scoring = parts.scoring
    if scoring is not None:
        scoring.read(scoring.load_networks(device), device, report)
    dataset, _ = find_dataset(registry, first.track, first.data)
    reference = scoring.source.hash() if scoring else ""
    return Checked(
        device=str(device),
        environment=describe(device, parallel),
        data_sha256=data.sha256,
        reference_sha256=reference,
        deviations=(*deviations(first.track, data, dataset.name), *other_images(first.track, data, reference)),
    )


def _check_processes(configs: Sequence[RunConfig], device: torch.device, processes: int) -> None:
    """`BadValue` if there are not so many GPUs, or more processes than images in a batch."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else processes
    if processes > gpus:
        raise BadValue(f"{processes} processes need a GPU each, and there are {gpus}; give a smaller --nproc.")
    if processes > 1 and device.index:
        raise BadValue(f"{processes} processes can't share {str(device)!r}: give --device cuda, or no --nproc.")
    least = min(config.recipe.batch_size for config in configs)
    if processes > least:
        raise BadValue(f"{processes} processes can't share batches of {least} images; give a smaller --nproc.")


def _check_parallel(device: torch.device, processes: int, parallel: int) -> None:
    """`BadValue` if so many runs at a time can't have GPUs of their own, or on a CPU threads."""
    if parallel == 1:
        return
    if device.type == "cuda":
        _check_gpus(device, processes, parallel)
    elif parallel > torch.get_num_threads():
        raise BadValue(
            f"{parallel} runs at a time need a thread each, and torch has {torch.get_num_threads()}; "
            "give a smaller --parallel, or raise OMP_NUM_THREADS."
        )


def _check_gpus(device: torch.device, processes: int, parallel: int) -> None:
    """The GPUs must be there, and of one model, since a run has its class of hardware before it has its GPUs."""
    if device.index is not None:
        raise BadValue(f"{parallel} runs at a time can't share {str(device)!r}; give --device cuda, or no --parallel.")
    needed, there = parallel * processes, torch.cuda.device_count()
    if needed > there:
        fewer = "--parallel" if processes == 1 else "--parallel or --nproc"
        raise BadValue(f"{parallel} runs at a time need {needed} GPUs, and there are {there}; give a smaller {fewer}.")
    models = sorted({torch.cuda.get_device_name(number) for number in range(needed)})
    if len(models) > 1:
        raise BadValue(
            f"Runs at a time need GPUs of one model; CUDA_VISIBLE_DEVICES picks some of {', '.join(models)}."
        )


def resolve(config: RunConfig, registry: Registry, data: Data | None = None) -> Parts:
    """Find, load and check every part; any mistake of the user's ends here, before training."""
    track = config.track
    data = data or open_data(config, registry)
    if config.data_sha256 and data.sha256 != config.data_sha256:
        raise BadFile(f"The data {data.name!r} changed after this run was planned; give the command again.")
    device, objective = find_device(config.device), make_objective(config.objective, track.name, registry)
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
        sample=load(sampler.sample),
        scoring=None if data.synthetic else _scoring(config, data, registry),
        autoencoder=_autoencoder(data),
        device=device,
    )
    if parts.scoring is not None:
        parts.scoring.check_shape(parts.image_shape)
    return parts


def open_data(config: RunConfig, registry: Registry, report: Report = lambda progress: None) -> Data:
    """The track's data, or what stands in for it; `DitbenchError` if it is missing, damaged or of another kind."""
    track, asked = config.track, config.track.data
    dataset, place = find_dataset(registry, track, config.data)

    def told(done: int, of: int) -> None:
        report(Progress("data", done / max(1, of), done))

    data: Data = load(dataset.load)(
        Request(
            resolution=asked.resolution,
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
    return data


_PICTURES = ("image-folder", "hf", "hf-stream")  # ways to the same images


def deviations(track: Track, data: Data, dataset: str) -> tuple[str, ...]:
    """In what the data is not the track's, so that a run on it is carried out, but not ranked."""
    asked, shape, meant = track.data, data.examples.shape, track.data.dataset.partition(":")[0]
    another = dataset != meant and not {dataset, meant} <= set(_PICTURES)
    found = [
        (data.synthetic, "synthetic noise in place of data"),
        (another and not data.synthetic, f"the data set {dataset}, not {meant}"),
        (_differ(asked.images, len(data.examples)), f"{len(data.examples)} training images, not {asked.images}"),
        (_differ(asked.classes, len(data.class_names)), f"{len(data.class_names)} classes, not {asked.classes}"),
        (_differ(asked.channels, shape[0]), f"{shape[0]} channels, not {asked.channels}"),
        (shape[1] * asked.downsampling != asked.resolution, f"examples of {shape[1]} x {shape[2]}"),
        (
            _is_another(asked.autoencoder, data.autoencoder_name),
            f"latents of {data.autoencoder_name!r}, not {asked.autoencoder!r}",
        ),
        (bool(data.skipped), f"{data.skipped} unreadable images left out"),
    ]
    return tuple(text for differs, text in found if differs)


def other_images(track: Track, data: Data, reference_sha256: str) -> tuple[str, ...]:
    """In what the images are not those that the track was published with: trained on, or compared with."""
    known, reference = data_of(track), reference_sha256[:12]
    if not known or data.synthetic:
        return ()
    found = [
        (data.sha256 != known, f"data of sha256 {data.sha256[:12]}, not the track's {known[:12]}"),
        (reference_sha256 != data.sha256, f"compared with images of sha256 {reference}, not with the training images"),
    ]
    return tuple(text for differs, text in found if differs)


def _is_another(asked: str | None, found: str) -> bool:
    """Whether it is another autoencoder; a folder called like that on the hub passes: the record has its sha256."""
    return asked is not None and found not in (asked, asked.rpartition("/")[2])


def _differ(asked: object, found: object) -> bool:
    return asked is not None and asked != found


def spec_of(track: Track, registry: Registry) -> DenoiserSpec:
    """What a track asks of its denoisers, by what it says of its data; `BadValue` if it does not tell."""
    asked, objective = track.data, make_objective(track.objective, track.name, registry)
    if asked.channels is None or asked.classes is None:
        raise BadValue(f"Track {track.name!r} does not tell the channels and the classes of its data.")
    return DenoiserSpec(
        channels=asked.channels,
        resolution=asked.resolution // asked.downsampling,
        classes=asked.classes,
        space=track.space,
        learn_variance=objective.learn_variance,
    )


def _spec(data: Data, objective: DiffusionObjective) -> DenoiserSpec:
    channels, side, _ = data.examples.shape
    return DenoiserSpec(
        channels=channels,
        resolution=side,
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


def make_objective(chosen: ObjectiveChoice, track: str, registry: Registry) -> DiffusionObjective:
    """The objective with its settings; `BadValue` if it has not these."""
    objective = pick("objective", chosen.name, registry.objectives)
    try:
        return load(objective.make)(**{**objective.settings, **chosen.settings})  # type: ignore[no-any-return]
    except (TypeError, BadValue) as error:
        raise BadValue(f"Objective {chosen.name!r} of track {track!r}: {str(error).rstrip('.')}.") from None


def _scoring(config: RunConfig, data: Data, registry: Registry) -> Scoring:
    """The track's metrics and what they compare with: `--reference`, or else the training images."""
    if config.reference:
        source = open_source(Path(config.reference))
    elif data.images is not None:
        source = source_of(data.images)
    else:
        raise BadFile(
            f"The images that {data.name!r} was made of are gone or changed. {data.images_gone} Give real images, or "
            "their moments, to compare the samples with, by --reference."
        )
    metrics = tuple(_metric(pair, source, registry) for pair in config.track.evaluation.choices)
    return Scoring(metrics, source, data)


def _metric(choice: tuple[str, str], source: Source, registry: Registry) -> tuple[Metric, Extractor]:
    metric = pick("metric", choice[0], registry.metrics)
    load(metric.measure)
    if reason := source.impossible(metric):
        raise BadValue(f"{reason}.")
    return metric, pick("extractor", choice[1], registry.extractors)


def _autoencoder(data: Data) -> Autoencoder | None:
    if data.autoencoder is None:
        return None
    found = _read_autoencoder(data.autoencoder)
    if found.sha256 != data.autoencoder_sha256:
        raise BadFile(f"The autoencoder in {data.name!r} is not the one that made the latents.")
    return found


@lru_cache(maxsize=1)  # the runs of a plan have one
def _read_autoencoder(folder: Path) -> Autoencoder:
    return load_autoencoder(str(folder), offline=True)


def build(parts: Parts, config: RunConfig) -> nn.Module:
    """The run's denoiser, initialised from the run's seed."""
    torch.manual_seed(config.seed)
    recomputing = {"checkpointing": True} if config.recipe.checkpointing else {}
    return load(parts.architecture.build)(parts.spec, **{**config.settings, **recomputing})  # type: ignore[no-any-return]


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
