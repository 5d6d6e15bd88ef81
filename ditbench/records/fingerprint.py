"""A network known by what it does: numbers of it that say whether two records are of one, and of which.

They are plain, so that tables compare them without torch; `denoiser/fingerprint.py` computes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from ..storage.schema import Frozen, Number, Sha256OrEmpty, Words

TOLERANCE = 1e-4  # of a number's scale; rounding moves a number by about 1e-6 of it
ALWAYS = ("weights.fixed", "weights.size", "weights.mean", "weights.form", "output.1", "output.2")  # of any network
ALSO = ("output.3", "output.4", "loss", "gradient.matrices", "gradient.vectors")  # of none that is big


class Scaled(Frozen):
    """A number, and by what it is told whether another is the same."""

    value: Number
    scale: Annotated[Number, Field(ge=0)]


class Fingerprint(Frozen):
    """What a size of an architecture does with its options, from fixed seeds, on a CPU in float32."""

    rule: Literal[1] = 1  # by which its numbers are made: those of two rules say nothing of each other
    shapes_sha256: Sha256OrEmpty = ""  # of the weights' shapes
    numbers: dict[str, Scaled] = {}
    missing: Words = ""  # why there are none, in a line

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Fingerprint:
        found, known = set(self.numbers), {*ALWAYS, *ALSO}
        if unknown := sorted(found - known):
            raise ValueError(f"there is no number called {unknown[0][:50]!r}; known: {', '.join((*ALWAYS, *ALSO))}")
        if found not in (set(), {*ALWAYS}, known):
            raise ValueError(f"its numbers are all, or {', '.join(ALWAYS)} of a big network, or none")
        if bool(self.missing) == bool(found) or bool(found) != bool(self.shapes_sha256):
            raise ValueError("it has a hash of shapes and numbers, or says in `missing` why not")
        return self


def known(fingerprint: Fingerprint | None) -> bool:
    """Whether there are numbers. None: a record from before they were made."""
    return fingerprint is not None and bool(fingerprint.numbers)


def unlike(one: Fingerprint, newest: Fingerprint) -> Iterator[str]:
    """The names of all that tells a network from the newest; none: the two are one.

    Of a big network fewer numbers are made, and where one of the two is just small enough, these are compared.
    """
    if (one.rule, one.shapes_sha256) != (newest.rule, newest.shapes_sha256):
        yield "shapes_sha256" if one.rule == newest.rule else "rule"
    yield from _apart(one.numbers, newest.numbers, (name for name in newest.numbers if name in one.numbers))


def _apart(one: Mapping[str, Scaled], newest: Mapping[str, Scaled], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if abs(one[name].value - newest[name].value) > TOLERANCE * newest[name].scale:
            yield name
