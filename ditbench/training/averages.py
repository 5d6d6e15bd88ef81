"""Power-function averages of a network in training, beside its own EMA; `power.py` says what they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import BadFile
from ..runtime.fsdp import full
from .checkpoint import Saved, like
from .power import keep

_PREFIX = "power"  # of their names in a checkpoint


class PowerAverages:
    """One for each relative length, where the network's parameters are, in shards if these are; none by default."""

    def __init__(self, network: nn.Module, lengths: Sequence[float] = ()) -> None:
        self._named = dict(network.named_parameters())
        self._weights: list[Tensor] = list(self._named.values())
        self._of = {length: [weight.detach().clone() for weight in self._weights] for length in lengths}

    @torch.no_grad()
    def update(self, before: float, now: float) -> None:
        """Take the weights in, now that a step has gone from one share of the budget to another."""
        for length, averages in self._of.items():
            torch._foreach_lerp_(averages, self._weights, 1 - keep(length, before, now))

    def tensors(self) -> dict[str, Tensor]:
        """By their names in a checkpoint."""
        return {
            f"{_PREFIX}/{length}/{name}": tensor
            for length, averages in self._of.items()
            for name, tensor in zip(self._named, averages, strict=True)
        }

    def no_more_asked_for(self, saved: Saved) -> dict[str, Tensor]:
        """Room for averages that a checkpoint has beyond these. `BadFile` if it lacks these: they begin with a run."""
        theirs = {name for name in saved.shapes if name.startswith(f"{_PREFIX}/")}
        if self.tensors().keys() - theirs:
            raise BadFile(
                "The run's checkpoint has no power-function averages of its weights, which begin with a run: leave out "
                "`ema_snapshots`, or start over with `force`."
            )
        return {
            name: like(saved.shapes[name], self._named[name.split("/", 2)[2]])
            for name in sorted(theirs - self.tensors().keys())
        }

    def gathered(self) -> dict[str, Tensor]:
        """All of them whole, on the CPU, by length and parameter; of sharded ones, all processes take part."""
        return {name.removeprefix(f"{_PREFIX}/"): full(tensor).cpu() for name, tensor in self.tensors().items()}

    @property
    def bytes(self) -> int:
        """That they take here."""
        shards = (getattr(tensor, "_local_tensor", tensor) for averages in self._of.values() for tensor in averages)
        return sum(tensor.numel() * tensor.element_size() for tensor in shards)
