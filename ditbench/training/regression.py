"""What surrounds the network in a training step, x_t before it and the loss after it: a graph each, if compiled."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..runtime.compiling import compiled_function
from .objectives import DiffusionObjective


class Regression:
    """An objective in training."""

    def __init__(self, objective: DiffusionObjective, compiled: bool) -> None:
        self._objective = objective
        self._corrupt = compiled_function(objective.corrupt) if compiled else objective.corrupt
        self._mean_loss = compiled_function(self._mean_of_loss) if compiled else self._mean_of_loss

    def at(self, t: Tensor) -> tuple[Any, ...]:
        """What else the two below take of t (N,), looked up once for all forwards; nothing, where t is enough."""
        look_up = getattr(self._objective, "at", None)
        return () if look_up is None else (look_up(t),)

    def noisy(self, x0: Tensor, noise: Tensor, t: Tensor, *at: Any) -> Tensor:
        """x_t (N, C, H, W), as the network sees it."""
        return self._corrupt(x0, noise, t, *at)

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor, *at: Any) -> Tensor:
        """The mean loss of the images: ()."""
        return self._mean_loss(out, x0, noise, t, *at)

    def _mean_of_loss(self, *of: Any) -> Tensor:
        return self._objective.loss(*of).mean()
