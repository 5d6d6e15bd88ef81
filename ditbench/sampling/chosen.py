"""A track's sampler, with its settings."""

from __future__ import annotations

from functools import partial

from ..components import load
from ..errors import BadValue
from ..registry import Registry, pick
from ..tracks.settings import checked
from ..tracks.track import SamplerChoice
from .samplers import Sample


def make_sample(chosen: SamplerChoice, track: str, registry: Registry) -> Sample:
    """What goes from noise to images; `BadValue` if the sampler has not these settings, or not such values.

    They are the keywords that its function takes beside the walk.
    """
    sample = load(pick("sampler", chosen.name, registry.samplers).sample)
    try:
        settings = checked(partial(sample, None), chosen.settings)
    except BadValue as error:
        raise BadValue(f"Sampler {chosen.name!r} of track {track!r}: {str(error).rstrip('.')}.") from None
    return partial(sample, **settings)
