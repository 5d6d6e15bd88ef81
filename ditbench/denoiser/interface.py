"""How a denoiser is built, called and asked for its loss, and a batch to try it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..components import Architecture, DenoiserSpec, Selection, Value

DIGITS_SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
Batch = tuple[Tensor, Tensor, Tensor]


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


def loss_of(denoiser: nn.Module, once: Callable[..., Tensor]) -> Tensor:
    """The denoiser's own `training_loss`, if it has one, of the loss of one forward; else that one."""
    own: Callable[[Callable[..., Tensor]], Tensor] | None = getattr(denoiser, "training_loss", None)
    return once() if own is None else own(once)
