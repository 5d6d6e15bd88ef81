"""When a step's loss and its time reach the host: at once on a CPU; on CUDA a step late, so that the GPU never waits.

What is read late was copied without waiting, and the host then waits for a step that the GPU has most often done
already, while the next one is in its queue. A step's time is the GPU's own, between two events in its stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """A training step that has ended."""

    number: int  # from 0
    loss: float  # this process's part
    seconds: float
    compiling: float  # of these, by this process


class Pace(Protocol):
    """Times a trainer's steps and reads their losses."""

    def begin(self) -> None:
        """A step begins."""

    def end(self, number: int, loss: Tensor, compiling: float) -> None:
        """It ends, but for its loss () and what its device has yet to do; so long it has compiled."""

    def ended(self, all_of_them: bool = False) -> Iterator[Step]:
        """The steps that are known by now, in their order, each once; or all, waited for."""


class AtOnce:
    """On a CPU, where a step is over when its last line is."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer, self._began = timer, 0.0
        self._last: deque[Step] = deque()

    def begin(self) -> None:
        self._began = self._timer()

    def end(self, number: int, loss: Tensor, compiling: float) -> None:
        self._last.append(Step(number, float(loss), self._timer() - self._began, compiling))

    def ended(self, all_of_them: bool = False) -> Iterator[Step]:
        while self._last:
            yield self._last.popleft()


@dataclass(frozen=True)
class _Queued:
    """A step in the device's queue."""

    number: int
    compiling: float
    loss: Tensor  # on the host, once it has been copied
    began: Any  # events
    over: Any
    copied: Any


class StepLate:
    """On CUDA. One step may be in the queue; the host waits for the one before it, which ended a step ago."""

    def __init__(self, event: Callable[[], Any], pinned: bool = True) -> None:
        """event: makes one that is timed, as `torch.cuda.Event` is; pinned: the losses' memory on the host."""
        self._event, self._pinned = event, pinned
        self._queue: deque[_Queued] = deque()
        self._began: Any = None

    def begin(self) -> None:
        self._began = self._marked()

    def end(self, number: int, loss: Tensor, compiling: float) -> None:
        over = self._marked()
        there = torch.empty((), dtype=loss.dtype, pin_memory=self._pinned).copy_(loss, non_blocking=True)
        self._queue.append(_Queued(number, compiling, there, self._began, over, self._marked()))

    def ended(self, all_of_them: bool = False) -> Iterator[Step]:
        while len(self._queue) > (not all_of_them):
            one = self._queue.popleft()
            one.copied.synchronize()
            yield Step(one.number, float(one.loss), one.began.elapsed_time(one.over) / 1000, one.compiling)

    def _marked(self) -> Any:
        event = self._event()
        event.record()
        return event


def pace_on(device: torch.device, timer: Callable[[], float]) -> Pace:
    """How a device's steps are timed."""
    if device.type == "cuda":
        return StepLate(lambda: torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
    return AtOnce(timer)
