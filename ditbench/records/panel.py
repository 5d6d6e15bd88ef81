"""Several extractors' Fréchet distances in a record, each beside that of real images."""

from __future__ import annotations

from collections.abc import Sequence

from ..tracks.track import DISTANCES
from .derived import Raw
from .facts import Measurement


def by_extractor(measured: Sequence[Measurement]) -> dict[str, Measurement]:
    """The Fréchet distances among what was measured."""
    return {one.protocol.partition("/")[2]: one for one in measured if one.metric in DISTANCES}


def ratios(distances: Sequence[Measurement], floors: Sequence[Measurement]) -> Raw:
    """The raw numbers of the mean of the distances, each divided by the floor of the same extractor.

    The jackknife leaves out the same samples for all extractors, so the mean has one, too, if all of them have.
    """
    both = list(zip(distances, floors, strict=True))
    raw: Raw = {"ratios": [number for one, floor in both for number in (one.value, floor.value)]}
    without = [[value / floor.value for value in one.raw.get("jackknife", ())] for one, floor in both]
    means = [sum(values) / len(values) for values in zip(*without, strict=False)]
    return {**raw, "jackknife": means} if means else raw
