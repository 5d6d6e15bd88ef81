"""A track's objective, and the input and output that it asks of its denoisers."""

from __future__ import annotations

from ..components import load
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue
from ..registry import Registry, pick
from ..tracks.recipe import ObjectiveChoice
from ..tracks.settings import checked
from ..tracks.track import Track
from .objectives import DiffusionObjective


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
        frames=asked.frames,
    )


def make_objective(chosen: ObjectiveChoice, track: str, registry: Registry) -> DiffusionObjective:
    """The objective with its settings; `BadValue` if it has not these, or not such values."""
    objective = pick("objective", chosen.name, registry.objectives)
    make = load(objective.make)
    try:
        return make(**checked(make, {**objective.settings, **chosen.settings}))  # type: ignore[no-any-return]
    except BadValue as error:
        raise BadValue(f"Objective {chosen.name!r} of track {track!r}: {str(error).rstrip('.')}.") from None
