"""The table of sizes: what each costs on the input that it was made for, counted without memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..asking import ask_of
from ..components import Selection, Value, spell
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue, PluginFault
from ..records.facts import Cost
from ..registry import Registry, pick, select
from .cost import cost_of_selection

LADDER_HEADERS = ("size", "other settings than in the middle", "parameters", "MACs", "training MACs", "times")
HEADERS = ("size", "for", "parameters", "without train-only", "MACs", "training MACs")


@dataclass(frozen=True)
class Size:
    """One row: what was built, for which input, at what cost."""

    label: str
    spec: DenoiserSpec
    cost: Cost

    @property
    def cells(self) -> tuple[str, ...]:
        """The row under `HEADERS`."""
        lasting = self.cost.parameters - self.cost.train_only_parameters
        macs = (_macs(self.cost.macs_per_image), _macs(self.cost.training_macs_per_image))
        return self.label, str(self.spec), f"{self.cost.parameters:,}", f"{lasting:,}", *macs

    @property
    def facts(self) -> dict[str, Any]:
        """The row with the types that it has: the spec's fields, and counts."""
        return {"size": self.label, "for": asdict(self.spec), **self.cost.model_dump()}


@dataclass(frozen=True)
class Rung:
    """A row of a ladder: what differs from the size in the middle, and how much more training costs."""

    size: Size
    changes: Mapping[str, Value]
    times: float  # training's MACs, in those of the size in the middle

    @property
    def cells(self) -> tuple[str, ...]:
        """The row under `LADDER_HEADERS`."""
        label, _, parameters, _, macs, training = self.size.cells
        told = ", ".join(f"{name} {spell(value)}" for name, value in self.changes.items())
        return label, told, parameters, macs, training, f"{self.times:.2f}"

    @property
    def facts(self) -> dict[str, Any]:
        """The row with the types that it has."""
        return {**self.size.facts, "changes": dict(self.changes), "times": self.times}


@dataclass(frozen=True)
class Unfit:
    """A row without numbers: a size that can't be built on the input, and why."""

    label: str
    reason: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row under `HEADERS`, as far as it goes."""
        return self.label, self.reason

    @property
    def facts(self) -> dict[str, Any]:
        """The row, as far as it goes."""
        return {"size": self.label, "reason": self.reason}


def count_sizes(registry: Registry, text: str, changes: Mapping[str, Any] | None = None) -> list[Size | Unfit]:
    """The sizes that ``name[:size][+option=value]...`` stands for: all of the architecture if it names none.

    `changes` are fields of the input that differ from what a size was made for. A size that was named must fit
    them, or `BadValue` says why; of all sizes some may be `Unfit`. They are built in a process of their own: where a
    plugin's code breaks, or ends that, `PluginFault` says so of a size that was named, and of all one row.
    """
    name, plus, options = text.strip().partition("+")
    named = ":" in name
    sizes = () if named else pick("architecture", name, registry.architectures).sizes
    texts = [text] if named else [f"{name}:{size}{plus}{options}" for size in sizes]
    selections = [select(registry, one) for one in texts]
    try:
        return list(ask_of(text, _count_all, selections, changes, named, kinds=(Size, Unfit, Cost)))
    except PluginFault as fault:
        if named:
            raise
        return [Unfit(text, str(fault))]


def count_ladders(registry: Registry, text: str, changes: Mapping[str, Any] | None = None) -> list[Rung]:
    """The rungs and the pair of the ladder that ``name:size[+option=value]...`` is of; of all, if it names no size.

    `BadValue` if there is none.
    """
    head, plus, options = text.strip().partition("+")
    name, colon, size = head.partition(":")
    architecture = pick("architecture", name, registry.architectures)
    if colon:
        pick(f"size of {name}", size, architecture.family(size))
    bases = [architecture.base(size)] if colon else list(architecture.ladder)
    if not bases or bases[0] not in architecture.ladder:
        has = f"only {', '.join(architecture.ladder)}" if architecture.ladder else "none of its sizes has one"
        raise BadValue(f"{head} has no ladder of sizes: of {name}, {has}.")
    found: list[Rung] = []
    for base in bases:
        differing = architecture.ladder[base].around(base)
        selections = [select(registry, f"{name}:{of}{plus}{options}") for of in differing]
        counted = ask_of(text, _count_all, selections, changes, True, kinds=(Size, Unfit, Cost))
        sizes = dict(zip(differing, counted, strict=True))
        middle = sizes[base].cost.training_macs_per_image
        found += [Rung(sizes[of], differing[of], sizes[of].cost.training_macs_per_image / middle) for of in differing]
    return found


def _count_all(selections: Sequence[Selection], changes: Mapping[str, Any] | None, named: bool) -> list[Size | Unfit]:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    if named:
        return [_count(selection, changes) for selection in selections]
    return [_count_if_fit(selection, changes) for selection in selections]


def _count_if_fit(selection: Selection, changes: Mapping[str, Any] | None) -> Size | Unfit:
    try:
        return _count(selection, changes)
    except BadValue as reason:
        return Unfit(selection.label, str(reason))


def _count(selection: Selection, changes: Mapping[str, Any] | None) -> Size:
    spec = selection.spec(changes)
    return Size(selection.label, spec, cost_of_selection(selection, spec))


def _macs(count: int) -> str:
    return f"{count / 1e9:.3f} G" if count >= 1e8 else f"{count / 1e6:.3f} M"
