"""The processes that carry out one run together: who they are, and how they agree.

torch.distributed talks; this says what is said. All of a run's random draws are functions of the step and the image, so
a process takes its share of a batch and of its draws, and what comes out does not depend on how many there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .fsdp import shard

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class World:
    """One of `size` processes. Of one alone nothing is asked, and torch.distributed need not be set up."""

    rank: int = 0
    size: int = 1
    sharded: bool = False  # weights, gradients and optimiser lie in shards over the processes

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things."""
        return share(count, self.rank, self.size)

    def place(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network itself on the device, or this process's shards of it."""
        return shard(network, device, self.size) if self.sharded else network.to(device)

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The placed network whose gradients are averaged over the processes."""
        if self.size == 1 or self.sharded:
            return network
        devices = [torch.cuda.current_device()] if device.type == "cuda" else None
        with warnings.catch_warnings():  # torch 2.15 renames the argument, and older ones know no other
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)

    def told(self, values: Sequence[float]) -> list[list[float]]:
        """Every process's values, in their order, on every process: one message from host to host, no device waits."""
        if self.size == 1:
            return [list(values)]
        mine = torch.tensor(values, dtype=torch.float64)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(found, mine)
        return [one.tolist() for one in found]

    def largest(self, value: float) -> float:
        """The largest of all processes' values."""
        return max(one for (one,) in self.told([value]))

    def to_main(self, mine: Tensor | None, counts: Sequence[int]) -> list[Tensor]:
        """Every process's rows (counts[rank], ...), in their order, on the main process; none on the others.

        On the CPU, all of one dtype and, but for their count, one shape. A process that `counts` does not reach has
        None; the main one always has some.
        """
        if not self.main:
            if mine is not None:
                distributed.send(mine.contiguous(), 0)
            return []
        assert mine is not None
        theirs = [mine.new_empty((count, *mine.shape[1:])) for count in counts[1:]]
        for rank, rows in enumerate(theirs, start=1):
            distributed.recv(rows, rank)
        return [mine, *theirs]

    def apart(self) -> Any:
        """A process group on the CPU for what goes on in the background; None of one process alone."""
        return None if self.size == 1 else distributed.new_group(backend="gloo")

    def all(self, item: _Item) -> Sequence[_Item]:
        """Every process's item, in their order, on every process."""
        if self.size == 1:
            return [item]
        items: list[_Item] = [item] * self.size
        distributed.all_gather_object(items, item)
        return items

    def from_main(self, item: _Item) -> _Item:
        """The main process's item, on every process."""
        return self.all(item)[0]


ALONE = World()


def share(count: int, rank: int, processes: int) -> slice:
    """The part of a batch of `count` that a process gets; all processes' parts are the batch, none of it twice."""
    return slice(count * rank // processes, count * (rank + 1) // processes)
