"""Sizes around one of an architecture's, for studies of scale that need no knowledge of its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import BadValue

Changes = Mapping[str, str | int | float | bool]  # settings that differ from those of the size in the middle
NARROW, WIDE = "narrow", "wide"


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Sizes of the proportions that are usual for an architecture, by what they cost to train, and a pair by width.

    Each says only which settings differ from those of the size in the middle, which is the rung 1. Their names follow
    from that size's: ``nano-x0.125`` ... ``nano-x4``, ``nano-narrow``, ``nano-wide``. All are made for the same input.
    """

    rungs: Mapping[float, Changes]  # multiply-accumulates of training, in those of the size in the middle
    narrow: Changes
    wide: Changes  # three times as wide as the narrow one, of as many layers, with heads as wide as its

    def __post_init__(self) -> None:
        for factor in self.rungs:
            if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < float("inf"):
                raise BadValue(f"a ladder can't have the rung {factor!r}: name what it costs, as 0.5 or 2.")
        if 1 in self.rungs:
            raise BadValue("the rung 1 of a ladder is the size that it is of; leave it out.")
        if not self.rungs:
            raise BadValue("a ladder needs rungs, as {0.5: {...}, 2: {...}}.")

    def names(self, base: str) -> dict[str, Changes]:
        """What differs by name, from the cheapest rung to the dearest, and the pair."""
        rungs = {f"{base}-x{factor:g}": self.rungs[factor] for factor in sorted(self.rungs)}
        return {**rungs, f"{base}-{NARROW}": self.narrow, f"{base}-{WIDE}": self.wide}

    def around(self, base: str) -> dict[str, Changes]:
        """The same, with the size in the middle at its place, which changes nothing."""
        named = [*self.names(base).items()]
        below = sum(factor < 1 for factor in self.rungs)
        return dict([*named[:below], (base, {}), *named[below:]])

    def sizes(self, base: str, settings: Changes) -> dict[str, Changes]:
        """All settings by name."""
        return {name: {**settings, **changes} for name, changes in self.names(base).items()}


def names_of(ladders: Mapping[str, Ladder]) -> list[str]:
    """The names of all sizes of an architecture's ladders, which are by the size that each is of."""
    return [name for base, ladder in ladders.items() for name in ladder.names(base)]


def check_ladders(architecture: str, ladders: Mapping[str, Ladder], sizes: Mapping[str, Changes]) -> None:
    """Each is of a size that there is, and no size has a name of theirs."""
    for base in ladders.keys() - sizes.keys():
        raise BadValue(f"architecture {architecture!r} has a ladder for {base!r}, which is none of its sizes.")
    for name in sizes.keys() & names_of(ladders):
        raise BadValue(f"architecture {architecture!r} has a size {name!r}, which is a name of its ladder's.")
