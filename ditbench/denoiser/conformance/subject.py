"""What is checked: one architecture in one size, built as the harness builds it, and inputs to try it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..components import Architecture, DenoiserSpec, Selection, Value
from ..objectives import loss_of

DIGITS_SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Subject:
    """An architecture, its size and options, and the input it is built for."""

    selection: Selection
    spec: DenoiserSpec
    module: str = ""  # the plugin's, which registers it; empty: not known

    def build(self, spec: DenoiserSpec | None = None) -> nn.Module:
        """A denoiser from seed 0, its parameters perturbed: many networks start as the zero function."""
        torch.manual_seed(0)
        denoiser: nn.Module = self.selection.build(spec or self.spec)
        perturb(denoiser)
        return denoiser

    def batch(self, count: int = 7) -> Batch:
        """x, t and y of `count` images."""
        return example_batch(self.spec, count)


def build_denoiser(
    architecture: Architecture, size: str = "nano", spec: DenoiserSpec = DIGITS_SPEC, **options: Value
) -> nn.Module:
    """A denoiser as the harness builds it, initialised from seed 0."""
    torch.manual_seed(0)
    return Selection(architecture=architecture, size=size, options=options).build(spec)  # type: ignore[no-any-return]


def example_batch(spec: DenoiserSpec, count: int) -> Batch:
    """A fixed x, t, y; the last label is the null label."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(count, spec.channels, spec.resolution, spec.resolution, generator=draw)
    t = torch.linspace(1, 999, count)
    y = torch.arange(count) % max(1, spec.classes)
    y[-1] = spec.classes
    return x, t, y


def perturb(denoiser: nn.Module, scale: float = 0.05) -> None:
    """Add fixed small noise to every trainable parameter, so that no zero-initialised layer hides another."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            if parameter.requires_grad and not parameter.is_meta:
                parameter.add_(scale * torch.randn(parameter.shape, generator=draw))


def training_loss(denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A squared-error stand-in for the harness's loss, through the denoiser's own `training_loss` if it has one."""

    def once(**extra: Any) -> Tensor:
        return denoiser(x, t, y, **extra).square().mean()  # type: ignore[no-any-return]

    return loss_of(denoiser, once)


class Broken(Exception):
    """A check's answer: what was seen in place of what was expected."""


class NotHere(Exception):
    """A check's answer: it can't be made here, and why."""


@dataclass(frozen=True)
class Check:
    """A clause of the contract. `look` returns what was seen, or raises `Broken`, `NotHere` or the network's error."""

    name: str
    expected: str
    mend: str
    look: Callable[[Subject], str]


def require(kept: bool, complaint: str) -> None:
    """`Broken` unless it is kept."""
    if not kept:
        raise Broken(complaint)


def subject_of(
    architecture: Architecture, size: str, spec: DenoiserSpec, options: Mapping[str, Value] | None, module: str = ""
) -> Subject:
    """The subject that these parts make."""
    return Subject(Selection(architecture=architecture, size=size, options=options or {}), spec, module)
