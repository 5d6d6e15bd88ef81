"""What surrounds the network in a training step, x_t before it and the loss after it: a graph each, if compiled.

Shapes: (N, C, H, W), of clips (N, F, C, H, W), which objectives see as strips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from ..denoiser.interface import Forward
from ..denoiser.strips import as_strips, clips_like
from ..errors import BadValue
from ..runtime.compiling import compiled_function
from .objectives import DiffusionObjective, LossParts


class Regression:
    """An objective in training."""

    def __init__(self, objective: DiffusionObjective, compiled: bool) -> None:
        self._objective = objective
        self._corrupt = compiled_function(objective.corrupt) if compiled else objective.corrupt
        self._mean_loss = compiled_function(self._mean_of_loss) if compiled else self._mean_of_loss
        parts: Callable[..., LossParts] | None = getattr(objective, "parts", None)
        self._parts = compiled_function(parts) if parts and compiled else parts

    def at(self, t: Tensor) -> tuple[Any, ...]:
        """What else those below take of t (N,), looked up once for all forwards; nothing, where t is enough."""
        look_up = getattr(self._objective, "at", None)
        return () if look_up is None else (look_up(t),)

    def noisy(self, x0: Tensor, noise: Tensor, t: Tensor, *at: Any) -> Tensor:
        """x_t, as the network sees it."""
        return clips_like(x0, self._corrupt(as_strips(x0), as_strips(noise), t, *at))

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor, *at: Any) -> Tensor:
        """The mean loss of the images: ()."""
        return self._mean_loss(as_strips(out), as_strips(x0), as_strips(noise), t, *at)

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor, *at: Any) -> LossParts:
        """What that is made of; `BadValue` if the objective does not tell."""
        if self._parts is None:
            raise BadValue(
                f"The objective {type(self._objective).__name__} has no method 'parts', by which the own loss of this "
                "network weighs its error."
            )
        error, rest, denoised = self._parts(as_strips(out), as_strips(x0), as_strips(noise), t, *at)
        return LossParts(clips_like(x0, error), rest, clips_like(x0, denoised))

    def _mean_of_loss(self, *of: Any) -> Tensor:
        return self._objective.loss(*of).mean()


class LossOfBatch:
    """The `TrainingLoss` of a batch: each forward pass of the network sees fresh noise, at the same times."""

    def __init__(
        self,
        regression: Regression,
        network: Callable[..., Tensor],
        x0: Tensor,
        t: Tensor,
        y: Tensor,
        noises: Iterator[Tensor],
    ) -> None:
        self._regression, self._network, self._noises = regression, network, noises
        self._x0, self._t, self.y, self._at = x0, t, y, regression.at(t)

    def __call__(self, **extra: Any) -> Tensor:
        _, noise, out = self._pass(extra)
        return self._regression.loss(out, self._x0, noise, self._t, *self._at)

    def forward(self, **extra: Any) -> Forward:
        x, noise, out = self._pass(extra)
        parts = self._regression.parts(out, self._x0, noise, self._t, *self._at)
        return Forward(out=out, x_t=x, x_0=self._x0, noise=noise, t=self._t, y=self.y, **parts._asdict())

    def _pass(self, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """x_t, its noise, and the network's output."""
        noise = next(self._noises)
        x = self._regression.noisy(self._x0, noise, self._t, *self._at)
        return x, noise, self._network(x, self._t, self.y, **extra)
