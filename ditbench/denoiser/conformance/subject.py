"""What is checked: one architecture in one size, built as the harness builds it, and inputs to try it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ...components import Architecture, Selection, Value
from ...denoiser_spec import DenoiserSpec
from ...errors import BadValue
from ..interface import Batch, example_batch, perturb


@dataclass(frozen=True)
class Subject:
    """An architecture, its size and options, and the input it is built for."""

    selection: Selection
    spec: DenoiserSpec
    module: str = ""  # the plugin's, which registers it; empty: not known

    def build(self, spec: DenoiserSpec | None = None) -> nn.Module:
        """A denoiser from seed 0, its parameters perturbed: many networks start as the zero function."""
        torch.manual_seed(0)
        try:
            denoiser: nn.Module = self.selection.build(spec or self.spec)
        except BadValue:  # a network may refuse an input, and says why
            raise
        except (Exception, SystemExit) as error:
            raise Unbuildable from error
        perturb(denoiser)
        return denoiser

    def batch(self, count: int = 7) -> Batch:
        """x, t and y of `count` images."""
        return example_batch(self.spec, count)


class Unbuildable(Exception):
    """The network can't be built; its cause is the network's own error."""


class Broken(Exception):
    """A check's answer: what was seen in place of what was expected."""


class Doubtful(Exception):
    """A check's answer: the contract is kept, by what was seen, which is seldom meant."""


class NotHere(Exception):
    """A check's answer: it can't be made here, and why."""


@dataclass(frozen=True)
class Check:
    """A clause of the contract. `look` returns what was seen, or raises `Broken`, `NotHere` or the network's error."""

    name: str
    expected: str
    mend: str
    look: Callable[[Subject], str]
    mends_errors: bool = False  # whether `mend` also fits what the network raises, which else breaks for other reasons
    needs_output: bool = True  # whether it says nothing of a network whose output no check could use


def require(kept: bool, complaint: str) -> None:
    """`Broken` unless it is kept."""
    if not kept:
        raise Broken(complaint)


def subject_of(
    architecture: Architecture, size: str, spec: DenoiserSpec, options: Mapping[str, Value] | None, module: str = ""
) -> Subject:
    """The subject that these parts make."""
    return Subject(Selection(architecture=architecture, size=size, options=options or {}), spec, module)
