"""Batches for training: which examples in which order, and how they reach the device.

The order is a function of (seed, position in the stream) alone, so it is the same for every architecture, and a
resumed run only needs to know how far it was.

Letters in shapes: n examples of a batch, C channels, H = W; clips have an axis of frames before C.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import BadValue
from ..runtime.distributed import share
from ..tracks.track import DataChoice
from .examples import Data, Rows
from .pixels import from_bytes

Numbers = npt.NDArray[np.int64]
FREE_SHARE = 0.6  # of the device's free memory that the data may take
CHUNK_BYTES = 1 << 26  # copied to the device at a time
THREADS, AHEAD = 4, 8  # readers, and the batches that they are ahead


class Order:
    """An endless stream of (example, mirrored or not): one permutation after another, each from (seed, epoch)."""

    def __init__(self, size: int, seed: int, mirrored: bool = False) -> None:
        self.size, self.seed, self.mirrored = size, seed, mirrored
        self._epoch, self._examples, self._mirrors = -1, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)

    def batch(self, position: int, count: int) -> tuple[Numbers, Numbers]:
        """Visits number `position` to `position + count - 1` of the stream: examples, and 1 where mirrored, else 0."""
        examples, mirrors = [], []
        while count:
            epoch, offset = divmod(position, self.size)
            self._deal(epoch)
            part = self._examples[offset : offset + count]
            examples.append(part)
            mirrors.append(self._mirrors[offset : offset + count])
            position, count = position + len(part), count - len(part)
        return np.concatenate(examples), np.concatenate(mirrors)

    def _deal(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._examples = np.random.default_rng([self.seed, epoch]).permutation(self.size)
        coins = np.random.default_rng([self.seed, epoch, 1])  # a stream of its own: the order is the same without
        self._mirrors = coins.integers(2, size=self.size) if self.mirrored else np.zeros(self.size, dtype=np.int64)


class Feed:
    """The data on its way to a device: held there if it fits, else read by threads ahead of its use.

    The batches are the same bits either way. Close it when training is over.
    """

    def __init__(
        self, data: Data, choice: DataChoice, seed: int, device: torch.device, rank: int = 0, processes: int = 1
    ) -> None:
        """Raises `BadValue` if latents are to be mirrored and the data has no mirrored ones."""
        examples = data.examples
        stored = examples.views == 2  # the mirror images are rows of their own
        if choice.flip and data.space == "latent" and not stored:
            raise BadValue(
                f"The latents of {data.name!r} have no mirrored copies, which flip needs; prepare them anew."
            )
        self.order = Order(len(examples), seed, choice.flip)
        self.where: Literal["device", "streamed"] = "device"
        self.device, self._rank, self._processes = device, rank, processes
        self._latent, self._seen = data.space == "latent", data.latent_map
        self._sampled = choice.posterior == "sample" and examples.moments
        means_alone = examples.moments and not self._sampled
        self._rows: Rows = _means(examples.rows) if means_alone else examples.rows
        self._labels, self._views = examples.labels, examples.views
        self._turn = choice.flip and not stored
        self._stride = 1 if choice.flip else examples.views  # without flip, every other row of two is never needed
        self._held: Tensor | None = None
        self._ahead: _Ahead | None = None
        if _fits(self._rows, self._stride, device):
            self._held = _hold(self._rows, self._stride, device)
        else:
            self.where, self._ahead = "streamed", _Ahead(self._plan, self._read)

    def batch(self, position: int, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """This process's part of the batch of `count` at `position`: x0 (n, C, H, W) float32 and y (n,) int64.

        Posteriors are drawn with `draw`, for the whole batch, so that an example's noise does not depend on how many
        processes there are. Raises whatever reading the data raises.
        """
        if self._ahead:
            rows, plan = (part.to(self.device, non_blocking=True) for part in self._ahead.batch(position, count))
        else:
            assert self._held is not None
            plan = self._pinned(torch.from_numpy(self._plan(position, count))).to(self.device, non_blocking=True)
            rows = self._held[plan[0] // self._stride]
        return self._latents(rows, count, draw) if self._latent else self._pixels(rows, plan[2]), plan[1]

    def close(self) -> None:
        """End the threads, if there are any."""
        if self._ahead:
            self._ahead.close()

    def _plan(self, position: int, count: int) -> Numbers:
        """Rows, labels and mirror bits of this process's part: (3, n)."""
        part = share(count, self._rank, self._processes)
        examples, mirrored = (found[part] for found in self.order.batch(position, count))
        rows = examples * self._views + (0 if self._turn else mirrored)
        return np.stack([rows, self._labels[examples], mirrored])

    def _read(self, plan: Numbers) -> tuple[Tensor, Tensor]:
        """The plan's rows, and the plan, in memory that a GPU copies from by itself."""
        return self._pinned(_as_tensor(self._rows[plan[0]])), self._pinned(torch.from_numpy(plan))

    def _pinned(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def _pixels(self, rows: Tensor, mirrored: Tensor) -> Tensor:
        if self._turn:
            turned = mirrored.bool().view(-1, *[1] * (rows.ndim - 1))
            rows = torch.where(turned, rows.flip(-1), rows)
        return from_bytes(rows)

    def _latents(self, rows: Tensor, count: int, draw: torch.Generator) -> Tensor:
        if not self._sampled:  # means alone, or latents that nothing is drawn of
            return self._seen.apply(rows.float())
        mean, std = rows.float().unbind(1)
        noise = torch.randn((count, *mean.shape[1:]), generator=draw, device=self.device)
        return self._seen.apply(mean + std * noise[share(count, self._rank, self._processes)])


class _Ahead:
    """Reads the coming batches in the background: training asks for them in turn, so they are known."""

    def __init__(self, plan: Callable[[int, int], Numbers], read: Callable[[Numbers], tuple[Tensor, Tensor]]) -> None:
        self._plan, self._read = plan, read
        self._pool: ThreadPoolExecutor | None = None  # made at the first batch: a fork has no threads
        self._coming: deque[tuple[int, int, Future[tuple[Tensor, Tensor]]]] = deque()

    def batch(self, position: int, count: int) -> tuple[Tensor, Tensor]:
        if not self._coming or self._coming[0][:2] != (position, count):
            self._forget()
        self._pool = self._pool or ThreadPoolExecutor(THREADS, "ditbench-feed")
        for ahead in range(len(self._coming), AHEAD):
            start = position + ahead * count
            future = self._pool.submit(self._read, self._plan(start, count))
            self._coming.append((start, count, future))
        return self._coming.popleft()[2].result()

    def close(self) -> None:
        self._forget()
        if self._pool:
            self._pool.shutdown()
        self._pool = None

    def _forget(self) -> None:
        for _, _, future in self._coming:
            future.cancel()
        self._coming.clear()


def _means(moments: Rows) -> Rows:
    """The means (N*V, C, H, W) of moments (N*V, 2, C, H, W)."""
    return moments[:, 0] if isinstance(moments, np.ndarray) else _Means(moments)


class _Means:
    """Those of moments that are no array."""

    def __init__(self, moments: Rows) -> None:
        self._moments = moments

    @property
    def shape(self) -> tuple[int, ...]:
        return self._moments.shape[0], *self._moments.shape[2:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._moments.dtype

    def __getitem__(self, rows: Numbers) -> npt.NDArray[Any]:
        return self._moments[rows][:, 0]


def _fits(rows: Rows, stride: int, device: torch.device) -> bool:
    """Whether the data is best held on the device.

    On a CPU only what is in memory anyway: reading what is mapped takes no longer than reading a copy of it. So it is
    on a GPU that shares the CPU's memory.
    """
    if device.type != "cuda":
        return _in_memory(rows)
    return _bytes_per_row(rows) * rows.shape[0] // stride <= FREE_SHARE * torch.cuda.mem_get_info(device)[0]


def _in_memory(rows: Rows) -> bool:
    return isinstance(rows, np.ndarray) and not isinstance(rows, np.memmap)


def _hold(rows: Rows, stride: int, device: torch.device) -> Tensor:
    """Every `stride`-th row, on the device."""
    if isinstance(rows, np.ndarray) and _in_memory(rows):
        return _as_tensor(rows[::stride]).to(device)
    needed = np.arange(0, rows.shape[0], stride)
    held = torch.empty((len(needed), *rows.shape[1:]), dtype=_as_tensor(rows[needed[:1]]).dtype, device=device)
    step = max(1, CHUNK_BYTES // _bytes_per_row(rows))
    for start in range(0, len(needed), step):
        held[start : start + step] = _as_tensor(rows[needed[start : start + step]]).to(device)
    return held


def _bytes_per_row(rows: Rows) -> int:
    return int(np.prod(rows.shape[1:])) * rows.dtype.itemsize


def _as_tensor(rows: npt.NDArray[np.generic]) -> Tensor:
    """Without a copy unless the array can't be written."""
    return torch.from_numpy(np.require(rows, requirements=["C", "W"]))
