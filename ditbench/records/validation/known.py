"""What is installed, asked by name for the facts that a check needs. What it doesn't tell is noted, and is no fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from ...answers import SECONDS
from ...asking import ask, described
from ...components import (
    Architecture,
    Metric,
    ObjectReference,
    RawKind,
    Selection,
    Value,
    load,
    module_of,
)
from ...denoiser_spec import DenoiserSpec
from ...errors import BadValue
from ...registry import Registry
from ...tracks.architecture import ArchitectureFacts
from ...tracks.guidance import T
from ...tracks.points import draw
from ...tracks.search import Point
from ...tracks.track import Track
from ..facts import Cost
from .faults import short
from .sizes import Settings, read_shipped

MAX_NOTES = 50  # of a file that are told
MAX_STEPS = 100_000  # of more steps than these the evaluations are not counted
MAX_TIMES = 1_000_000  # evaluations of an image, more than which no sampler needs
ROUNDING = 1e-3  # of a time

MAX_OPTION = 1000  # of a network with a larger one, say of so many layers, the cost is not counted

Item = TypeVar("Item")
Counter = Callable[[Selection, DenoiserSpec], Cost]  # of a denoiser's cost: it takes torch, which not all have loaded


@dataclass
class Known:
    """The facts of components, and what has to be left unchecked for want of one, a line each."""

    registry: Registry
    unchecked: list[str] = field(default_factory=list)
    count: Counter | None = None

    def metric(self, name: str) -> Metric | None:
        """The metric of that name."""
        return self._installed("metric", name, self.registry.metrics.get(name))

    def raw_of(self, metric: Metric) -> RawKind | None:
        """The kind of raw numbers that a metric's value follows from."""
        if not metric.raw:
            self._note("metric", metric.name, "it does not tell the kind of its raw numbers")
        return metric.raw or None

    def weights(self, extractor: str) -> str | None:
        """The sha256 of an extractor's weights."""
        found = self._installed("extractor", extractor, self.registry.extractors.get(extractor))
        return None if found is None else found.weights.sha256

    def times(self, sampler: str, steps: int, settings: Mapping[str, Value]) -> list[float] | None:
        """The times in [0, 1000] of all evaluations of an image; None also if the sampler's own code fails at it."""
        found = self._installed("sampler", sampler, self.registry.samplers.get(sampler))
        if found is None:
            return None
        if found.times is None or steps > MAX_STEPS:
            reason = "it does not tell its times" if found.times is None else f"{steps} steps are too many to count"
            self._note("sampler", sampler, reason)
            return None
        try:
            asked = (_times, found.times, steps, settings)
            return _times(*asked[1:]) if _is_ours(found.times) else ask(*asked, seconds=SECONDS)
        except Exception as error:  # anybody's code, which may need what is not installed
            self._note("sampler", sampler, f"its times of {steps} steps can't be told: {described(error)}")
            return None

    def settings(self, of: ArchitectureFacts) -> dict[str, Value | None] | None:
        """What a network of that size and these options is built with; None where nobody here knows its very source.

        Empty if the source has no such size or option.
        """
        table = read_shipped()
        if of.source_sha256 in table.sources.get(of.name, ()):
            return table.settings[of.name].of(of.size, of.options)
        if (architecture := self._with_source(of)) is None:
            self._note("architecture", of.label, "no plugin with its source is installed")
            return None
        return Settings.from_plugin(architecture).of(of.size, of.options)

    def trained_with(self, of: ArchitectureFacts) -> tuple[str, ...] | None:
        """The networks whose features that network trains with; None where nobody here knows its very source."""
        if of.source_sha256 in read_shipped().sources.get(of.name, ()):
            return ()
        architecture = self._with_source(of)
        return None if architecture is None else architecture.trained_with

    def cost(self, of: ArchitectureFacts, spec: DenoiserSpec) -> Cost | None:
        """What that network costs, where its very source is installed here and can be counted."""
        large = any(isinstance(value, int | float) and abs(value) > MAX_OPTION for value in of.options.values())
        if not self.settings(of):
            return None
        architecture, reason = self._with_source(of), "no plugin with its source is installed"
        if architecture and self.count and not large:
            try:
                return self.count(Selection(architecture=architecture, size=of.size, options=of.options), spec)
            except (Exception, SystemExit) as error:  # anybody's code, which may not take this input
                reason = described(error)
        elif architecture:
            reason = "its options are too large" if large else "nobody counts here"
        self._note("architecture", of.label, f"its parameters and MACs can't be counted: {reason}")
        return None

    def points(self, track: Track, trials: int) -> tuple[Point, ...] | None:
        """Those of a search, where Optuna is installed to draw them."""
        try:
            return draw(track, trials)
        except BadValue:
            self._note("search", track.name, "its points can't be drawn without Optuna")
            return None

    def _with_source(self, of: ArchitectureFacts) -> Architecture | None:
        """The architecture, if it is installed here with that very source."""
        architecture = self.registry.architectures.get(of.name)
        known = architecture is not None and self.registry.source_sha256(of.name) == of.source_sha256
        return architecture if known else None

    def _installed(self, kind: str, name: str, found: Item | None) -> Item | None:
        if found is None:
            self._note(kind, name, "its plugin is not installed")
        return found

    def _note(self, kind: str, name: str, reason: str) -> None:
        """Each once, and not without end: the names are those of a file."""
        note = short(f"{kind} {name!r}: {reason}") if len(self.unchecked) < MAX_NOTES else "and more"
        if note not in self.unchecked:
            self.unchecked.append(note)


def _is_ours(reference: ObjectReference) -> bool:
    return module_of(reference).partition(".")[0] == "ditbench"


def _times(reference: ObjectReference, steps: int, settings: Mapping[str, Value]) -> list[float]:
    """Times of the right form; `ValueError` says what they are instead."""
    found = [float(t) for t in islice(load(reference)(steps, **settings), MAX_TIMES + 1)]
    if len(found) > MAX_TIMES:
        raise ValueError(f"more than {MAX_TIMES} times")
    if not all(-ROUNDING <= t <= T + ROUNDING for t in found):
        raise ValueError(f"not all lie in 0..{T:.0f}")
    return found
