"""Every component that a track names, made without data: what a run would refuse of it is told before any is opened."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..components import ObjectReference, load
from ..errors import BadValue, one_line
from ..metrics.features import builder_of, check_shape
from ..registry import Registry, pick
from ..sampling.chosen import make_sample
from ..tracks.config import RunConfig
from ..tracks.lookup import extractors_of
from ..tracks.track import Track
from ..training.optimizers import make_optimizer
from ..training.spec import make_objective


def make_components(track: Track, registry: Registry) -> None:
    """Make what can be made without data, and import the rest; `BadValue` names what a run could not use."""
    for kind, name, reference in _references(track, registry):
        try:
            load(reference)
        except (ImportError, AttributeError) as error:
            what = f"Track {track.name!r}: the {kind} {name!r}, {reference!r}"
            raise BadValue(f"{what}, can't be loaded: {one_line(error)}.") from None
    make_objective(track.objective, track.name, registry)
    make_sample(track.sampler, track.name, registry)
    make_optimizer(track.recipe, [torch.nn.Parameter(torch.zeros(1))])


def check_extractors(track: Track, registry: Registry) -> None:
    """`BadValue` if an extractor's library is missing, or it does not understand what the track says of its images.

    A run looks at the images themselves, and a rehearsal measures nothing.
    """
    shape = _image_shape(track)
    for name in extractors_of(track, registry):
        builder_of(registry.extractors[name])
        if shape is not None:
            check_shape(registry.extractors[name], shape)


def make_components_of(config: RunConfig, registry: Registry) -> None:
    """The same for a run, whose recipe and objective may be those of its architecture's paper."""
    trained_as = {"recipe": config.recipe, "objective": config.objective}
    make_components(config.track.model_copy(update=trained_as), registry)


def _references(track: Track, registry: Registry) -> Iterator[tuple[str, str, ObjectReference]]:
    """The callables behind the names of a track, with their kinds."""
    dataset = track.data.dataset.partition(":")[0]
    yield "dataset", dataset, pick("dataset", dataset, registry.datasets).load
    sampler = pick("sampler", track.sampler.name, registry.samplers)
    yield "sampler", sampler.name, sampler.sample
    yield "objective", track.objective.name, pick("objective", track.objective.name, registry.objectives).make
    for metric, _ in track.evaluation.choices:
        yield "metric", metric, pick("metric", metric, registry.metrics).measure


def _image_shape(track: Track) -> tuple[int, ...] | None:
    """(C, H, W) of the images that samples become, (F, C, H, W) of clips, as far as the track tells."""
    side, channels = track.data.resolution, 3 if track.space == "latent" else track.data.channels
    frames = () if track.data.frames == 1 else (track.data.frames,)
    return None if channels is None else (*frames, channels, side, side)
