"""The table of what the sizes that ship with ditbench cost on its tracks, by which records are checked.

``python -m ditbench.profiling.shipped dit mdt`` counts these anew, after a change of an architecture; without names, in
about fifteen minutes, all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ..builtins import REFERENCE_ARCHITECTURES
from ..components import Architecture, Selection
from ..denoiser.cost import cost_of_selection
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue
from ..ladder import names_of
from ..records.validation.sizes import Row, Settings, Shipped, read_shipped, write_shipped
from ..registry import Registry, select
from ..tracks.plan import train_as
from ..tracks.track import Track, load_track
from ..training.spec import make_objective, spec_of

ARCHITECTURES = (
    *REFERENCE_ARCHITECTURES,
    "mdtv2",
    "jit",
    "lightningdit",
    "ddt",
    "dit-dh",
    "maskdit",
    "dico",
    "hdit",
    "latte",
    "dit3d",
)  # all that ship with ditbench
TRACKS = (  # likewise
    "digits",
    "fashion32",
    "cifar10",
    "imagenet64",
    "imagenet256",
    "imagenet512",
    "moving-digits",
)


def count_shipped(registry: Registry, names: tuple[str, ...] = ARCHITECTURES) -> Shipped:
    """The table: every size of these architectures with its own options, on every track that it fits.

    Sizes of ladders are many, and only on the tracks that they were made for.
    """
    sources: dict[str, tuple[str, ...]] = {name: (registry.source_sha256(name),) for name in names}
    rows = [row for name in names for row in rows_of(registry, registry.architectures[name])]
    settings = {name: Settings.from_plugin(registry.architectures[name]) for name in names}
    return Shipped(sources=sources, settings=settings, rows=tuple(rows))


def rows_of(registry: Registry, architecture: Architecture, sizes: tuple[str, ...] = ()) -> Iterator[Row]:
    """The rows of an architecture's sizes, all of them if none is named."""
    for size in sizes or (*architecture.sizes, *names_of(architecture.ladder)):
        selection = select(registry, f"{architecture.name}:{size}")
        specs = dict.fromkeys(spec for track in _tracks(registry) for spec in _specs(registry, selection, track))
        for spec in specs if size in architecture.sizes else filter(partial(_alike, selection.made_for), specs):
            try:
                cost = cost_of_selection(selection, spec)
            except BadValue:  # its patches don't fit, or it takes clips, or none
                continue
            yield Row.of(architecture.name, size, spec, cost)


def _alike(one: DenoiserSpec | None, other: DenoiserSpec) -> bool:
    """Whether two inputs are the same but for the variance, which the objective asks for."""
    return one is not None and replace(one, learn_variance=other.learn_variance) == other


def _tracks(registry: Registry) -> list[Track]:
    return [load_track(registry.tracks[name]) for name in TRACKS]


def _specs(registry: Registry, selection: Selection, track: Track) -> Iterator[DenoiserSpec]:
    """What the track asks for under each ruleset: an architecture's own may or may not learn a variance."""
    asked = spec_of(track, registry)
    yield asked
    if selection.architecture.native is None:
        return
    _, native = train_as(registry, selection, track, "native")
    yield replace(asked, learn_variance=make_objective(native, track.name, registry).learn_variance)


def main(*names: str) -> None:
    """Count these, or all, and write the table. Sources that gave the same counts before stay in it."""
    write_shipped(count_shipped(Registry.installed(), names or ARCHITECTURES).after(read_shipped()))


if __name__ == "__main__":
    main(*sys.argv[1:])
