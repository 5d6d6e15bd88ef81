"""How a denoiser is built, called and asked for its loss, and a batch to try it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..components import Architecture, Selection, Value
from ..denoiser_spec import DenoiserSpec

DIGITS_SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
Batch = tuple[Tensor, Tensor, Tensor]


def build_denoiser(
    architecture: Architecture, size: str = "nano", spec: DenoiserSpec = DIGITS_SPEC, **options: Value
) -> nn.Module:
    """A denoiser as the harness builds it, initialised from seed 0."""
    torch.manual_seed(0)
    return Selection(architecture=architecture, size=size, options=options).build(spec)  # type: ignore[no-any-return]


def example_batch(spec: DenoiserSpec, count: int) -> Batch:
    """A fixed x (N, C, H, W), of clips (N, F, C, H, W), t and y; the last label is the null label."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(count, *spec.shape, generator=draw)
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Forward:
    """What one forward pass in training saw and gave. In shapes: N images, C channels, H and W.

    Of clips, whatever is (N, C, H, W) here is (N, F, C, H, W).

    The objective's loss is the mean of `error` and that of `rest`, added.
    """

    out: Tensor  # of the network (N, out_channels, H, W)
    x_t: Tensor  # what it saw (N, C, H, W)
    x_0: Tensor  # the true image (N, C, H, W)
    denoised: Tensor  # the x_0 that `out` means (N, C, H, W)
    noise: Tensor  # standard normal (N, C, H, W)
    t: Tensor  # (N,) in [0, 1000]
    y: Tensor  # (N,), the null label where it was dropped
    error: Tensor  # the objective's squared error with its weights (N, C, H, W)
    rest: Tensor  # what else is in the loss of an image, such as the variational term, or 0: (N,)


class TrainingLoss(Protocol):
    """What a network's own ``training_loss(loss)`` is given. Keywords go to the network, beside x, t and y."""

    y: Tensor  # (N,), the labels; of how many images there are, and where they lie, for what is drawn before a pass

    def __call__(self, **extra: Any) -> Tensor:
        """The objective's loss of one forward pass with fresh noise, the mean over the images: ()."""

    def forward(self, **extra: Any) -> Forward:
        """The same pass with all that it saw and gave, so that the network can weigh it itself.

        `BadValue` if the objective does not tell its `parts`.
        """


class StandInLoss:
    """A loss that needs no objective: the squared output, as where a flow's noise is the image, and its velocity 0."""

    def __init__(self, denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> None:
        self._denoiser, self._batch, self.y, self.forwards = denoiser, (x, t, y), y, 0

    def __call__(self, **extra: Any) -> Tensor:
        return self._out(extra).square().mean()

    def forward(self, **extra: Any) -> Forward:
        out, (x, t, y) = self._out(extra), self._batch
        of_x = x.shape[-3]
        velocity, variance = out[..., :of_x, :, :], out[..., of_x:, :, :]
        return Forward(
            out=out,
            x_t=x,
            x_0=x,
            denoised=x - (t / 1000).view(-1, *[1] * (x.ndim - 1)) * velocity,
            noise=x,
            t=t,
            y=y,
            error=velocity.square() * (velocity[0].numel() / out[0].numel()),
            rest=variance.square().flatten(1).sum(1) / out[0].numel(),
        )

    def _out(self, extra: dict[str, Any]) -> Tensor:
        self.forwards += 1
        return self._denoiser(*self._batch, **extra)  # type: ignore[no-any-return]


def training_loss(denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A squared-error stand-in for the harness's loss, through the denoiser's own `training_loss` if it has one."""
    return loss_of(denoiser, StandInLoss(denoiser, x, t, y))


def loss_of(denoiser: nn.Module, loss: TrainingLoss) -> Tensor:
    """The denoiser's own `training_loss`, if it has one, of the loss of one forward; else that one."""
    own: Callable[[TrainingLoss], Tensor] | None = getattr(denoiser, "training_loss", None)
    return loss() if own is None else own(loss)
