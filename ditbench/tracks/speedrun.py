"""What a track fixes of its speedrun: network, seeds and targets. A file brings the recipe: see `free.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ..errors import BadValue
from ..storage.schema import Frozen, Words

SEEDS = (5, 100)  # the least and the most of an entry: with five, a mean 1.7 deviations below a target is p < 0.01
# In words, what of a recipe is new: of characters that are seen. Empty: the run is of another ruleset.
Changed = Annotated[str, Field(pattern=r"^[^\p{C}\p{Zl}\p{Zp}]*$", max_length=200)]


class Speedrun(Frozen, strict=True):
    """What a track fixes of its speedrun, beside its data and how it measures."""

    network: Annotated[Words, Field(min_length=1)]  # as records spell it, e.g. "dit:nano"
    seeds: Annotated[int, Field(ge=SEEDS[0], le=SEEDS[1])]  # of an entry, from 0 on: no fewer, no more
    targets: Annotated[  # metric, as the track's evaluation names it -> value to be better than
        dict[Words, Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1, max_length=8)
    ]

    def check(self, metrics: Sequence[str]) -> None:
        """`BadValue` if a target is of what is not measured."""
        for name in self.targets:
            if name not in metrics:
                raise BadValue(f"The speedrun's target {name!r} is not among what is measured: {', '.join(metrics)}.")
