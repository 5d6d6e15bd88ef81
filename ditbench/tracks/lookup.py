"""A track by its name or its file, with all of its components installed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import BadValue
from ..registry import Registry, pick
from ..storage.files import is_file
from .ledger import check_ledger
from .track import Track, distances, lacking, load_track, panel


def resolve_track(registry: Registry, name: str) -> Track:
    """The track of an installed name or of a file, all of whose components are installed.

    Raises `DitbenchError` for a file that is missing or wrong, that has changed since it was published, or that takes
    the name of an installed track.
    """
    track = open_track(registry, name).track
    dataset, _, place = track.data.dataset.partition(":")
    if pick("dataset", dataset, registry.datasets).place == "none" and place:
        raise BadValue(f"Track {track.name!r}: the data set {dataset!r} is always at hand; leave out {place!r}.")
    _check_sampler(registry, track)
    check_metrics(registry, track)
    return track


def check_metrics(registry: Registry, track: Track) -> None:
    """`BadValue` if one is unknown, needs what its extractor or the track has not, or stands there twice."""
    choices = track.evaluation.choices
    for metric, features in choices:
        for extractor in panel(features):
            seen = pick("extractor", extractor, registry.extractors)
            pick("metric", metric, registry.metrics).check_fits(seen, track.data.frames)
            if track.data.frames < seen.frames:
                raise BadValue(
                    f"Track {track.name!r} has clips of {track.data.frames} frames, and extractor {extractor!r} needs "
                    f"{seen.frames} or more."
                )
        _check_panel(registry, track, metric, features)
    on_pixels = [metric for metric, _ in choices if registry.metrics[metric].sees == "pixels"]
    if track.space == "latent" and on_pixels:
        raise BadValue(f"Track {track.name!r}: {on_pixels[0]} compares raw training pixels, and latents have none.")
    if len(set(choices)) < len(choices):
        raise BadValue(f"Track {track.name!r} names a metric twice: {', '.join(track.evaluation.metrics)}.")


def extractors_of(track: Track, registry: Registry) -> list[str]:
    """The extractors that samples are shown to: a metric that sees the denoiser needs none."""
    seen = [of for metric, of in track.evaluation.choices if registry.metrics[metric].sees != "denoiser"]
    return list(dict.fromkeys(name for of in seen for name in panel(of)))


def _check_panel(registry: Registry, track: Track, metric: str, features: str) -> None:
    """A metric is of one extractor; one of several extractors' distances needs these, each by itself, beside it."""
    of, names = f"Track {track.name!r}: {metric}/{features}", panel(features)
    if registry.metrics[metric].sees != "distances":
        if len(names) > 1:
            raise BadValue(f"{of} names {len(names)} extractors, and {metric!r} is of one.")
        return
    if len(set(names)) < max(2, len(names)):
        raise BadValue(f"{of} needs two extractors or more, each once, as in {metric}/a+b.")
    if missing := lacking(track.evaluation, features):
        lacks = " or ".join(f"{distance}/{missing[0]}" for distance in distances(track.data.frames))
        raise BadValue(f"{of} is made of Fréchet distances, and the metrics lack {lacks}.")


def check_size(registry: Registry, track: Track) -> None:
    """`BadValue` if no installed architecture has the track's default size; where none is installed, nobody knows."""
    known = {size for architecture in registry.architectures.values() for size in architecture.family(track.size)}
    if known:
        pick("size", track.size, dict.fromkeys(known))


class Opened(NamedTuple):
    """A track, and whether a ledger says that it was published so."""

    track: Track
    published: bool


def open_track(registry: Registry, name: str) -> Opened:
    """The track of an installed name or of a file, whether or not its components are installed."""
    if name not in registry.tracks and _is_file(name):
        return _open_file(registry, Path(name))
    path = Path(pick("track", name, registry.tracks))
    track = load_track(path)
    if track.name != name:
        raise BadValue(f"The track file of {name!r} calls itself {track.name!r}; the two must be one name.")
    return Opened(track, check_ledger(track, path))


def _is_file(name: str) -> bool:
    return name.endswith(".toml") or Path(name).name != name or is_file(Path(name))


def _open_file(registry: Registry, path: Path) -> Opened:
    """A user's track. It may be a copy of an installed one, but no other one of that name."""
    track = load_track(path)
    published = check_ledger(track, path)
    if track.name in registry.tracks:
        installed = open_track(registry, track.name)
        if installed.track.hash != track.hash:
            raise BadValue(
                f"The track file {str(path)!r} calls itself {track.name!r}, but is not the installed track of that "
                "name; give it another one."
            )
        return installed._replace(track=track)
    return Opened(track, published)


def _check_sampler(registry: Registry, track: Track) -> None:
    """The sampler drives the objective in so many steps, and guidance has a null label to work with."""
    objective = pick("objective", track.objective.name, registry.objectives)
    sampler = pick("sampler", track.sampler.name, registry.samplers)
    steps, where = track.sampler.steps, f"Track {track.name!r}: sampler {sampler.name!r}"
    if objective.name not in sampler.objectives:
        raise BadValue(f"{where} can't drive objective {objective.name!r}, only {', '.join(sampler.objectives)}.")
    if steps < sampler.min_steps:
        raise BadValue(f"{where} needs at least {sampler.min_steps} steps.")
    if sampler.max_steps is not None and steps > sampler.max_steps:
        raise BadValue(f"{where} has at most {sampler.max_steps} steps.")
    if track.sampler.guidance is not None and track.recipe.label_dropout == 0:
        raise BadValue(f"Track {track.name!r}: guidance needs a label_dropout above 0, or no null label is trained.")
    if track.sampler.guidance is not None and track.data.classes == 0:
        raise BadValue(f"Track {track.name!r}: guidance is by classes, and its data has none.")
    guided = track.sampler.guidance.channels if track.sampler.guidance else None
    if guided and track.data.channels and guided > track.data.channels:
        raise BadValue(f"Track {track.name!r}: guidance on {guided} channels, of data that has {track.data.channels}.")
