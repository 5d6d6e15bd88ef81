"""The table of sizes: what each costs on the input that it was made for, counted without memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .components import DenoiserSpec, Selection
from .cost import cost_of
from .plan import select
from .record import Cost
from .registry import Registry, pick


@dataclass(frozen=True)
class Size:
    """One row: what was built, for which input, at what cost."""

    label: str
    spec: DenoiserSpec
    cost: Cost


def sizes(registry: Registry, text: str, changes: Mapping[str, Any] | None = None) -> Iterator[Size]:
    """The sizes that ``name[:size][+option=value]...`` stands for: all of the architecture if it names none.

    `changes` are fields of the input that differ from what a size was made for.
    """
    for selection in _choices(registry, text):
        spec = selection.spec(changes)
        with torch.device("meta"):
            denoiser = selection.build(spec)
        yield Size(selection.label, spec, cost_of(denoiser, spec))


def _choices(registry: Registry, text: str) -> list[Selection]:
    name, plus, options = text.strip().partition("+")
    if ":" in name:
        return [select(registry, text)]
    architecture = pick("architecture", name, registry.architectures)
    return [select(registry, f"{name}:{size}{plus}{options}") for size in architecture.sizes]
