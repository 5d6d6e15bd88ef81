"""What a network must leave alone when it is called, looked at before and after: it gives an output, and no more.

A forward pass that changes the learning rate, the weights, or how torch computes is another run than the one recorded.
No sandbox: what a network hides from Python, or does between two looks and takes back, is not seen.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.backends import cuda, cudnn
from torch.optim import Optimizer

from ..errors import BadValue

_DEVICES = ("cpu", "cuda")
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32}  # whole numbers of as many bytes as a weight has


def _of_numpy() -> list[object]:
    state: dict[str, Any] = np.random.get_state(legacy=False)
    return [state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]]


_SETTINGS: dict[str, Callable[[], object]] = {
    "torch's number of threads": torch.get_num_threads,
    "torch's default dtype": torch.get_default_dtype,
    "torch's default device": torch.get_default_device,
    "the grad mode": lambda: (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    "autocast": lambda: [(torch.is_autocast_enabled(one), torch.get_autocast_dtype(one)) for one in _DEVICES],
    "the precision of matrix products": lambda: (
        torch.get_float32_matmul_precision(),
        cuda.matmul.allow_fp16_reduced_precision_reduction,
        cuda.matmul.allow_bf16_reduced_precision_reduction,
    ),
    "cuDNN's settings": lambda: (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
    "the kinds of attention": lambda: (
        cuda.flash_sdp_enabled(),  # type: ignore[no-untyped-call]
        cuda.mem_efficient_sdp_enabled(),  # type: ignore[no-untyped-call]
        cuda.math_sdp_enabled(),  # type: ignore[no-untyped-call]
        cuda.cudnn_sdp_enabled(),  # type: ignore[no-untyped-call]
    ),
    "the deterministic algorithms": lambda: (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    ),
}
_DRAWS: dict[str, Callable[[], object]] = {
    "Python's generator": random.getstate,
    "NumPy's generator": _of_numpy,
}
_SHARE = 0.003  # of the time of what is looked at that looking may take


class Spots:
    """Which calls are looked at: the first, the last, and some between that nobody can foresee."""

    def __init__(self) -> None:
        self._spent: float | None = None  # seconds

    def due(self, seconds: float, last: bool) -> bool:
        """Whether to look now, after so many seconds of what is looked at; seldom, where looking takes long."""
        if last or self._spent is None:
            return True
        return self._spent <= _SHARE * seconds and secrets.randbelow(2) == 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """What is done meanwhile is looking."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent = (self._spent or 0.0) + time.perf_counter() - began


class Guard:
    """Looks at a network, its weights, its optimiser and the process around a call.

    weights: of a network whose parameters are swapped while it computes (FSDP's), those that stay.
    """

    def __init__(
        self, network: nn.Module, optimizer: Optimizer | None = None, weights: Sequence[Tensor] | None = None
    ) -> None:
        self._network, self._optimizer, self._weights = network, optimizer, weights

        self._first: dict[str, object] = {}  # settings, as they were at the first look
        self.spots = Spots()

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """`BadValue` names what a call, or its backward pass, has changed meanwhile beside its inputs.

        Of how torch computes also what was changed since the first look. In training mode a network may draw from
        torch's generators, but not seed them, and write to its buffers.
        """
        with self.spots.looking():
            before = self._look()
            self._first = self._first or {name: before[name] for name in _SETTINGS}
        yield
        with self.spots.looking():
            now = self._look()
        self._complain([name for name, value in {**before, **self._first}.items() if now[name] != value])

    @contextmanager
    def inputs(self, **inputs: Tensor) -> Iterator[None]:
        """`BadValue` names which of a call's inputs, by these names, have changed meanwhile."""
        copies = {name: tensor.clone() for name, tensor in inputs.items()}
        yield
        self._complain([f"its input {name}" for name, copy in copies.items() if not torch.equal(copy, inputs[name])])

    def _complain(self, changed: list[str]) -> None:
        if changed:
            raise BadValue(
                f"A forward pass of {type(self._network).__name__} changed {', '.join(changed)}: a network may change "
                "nothing but its output."
            )

    def _look(self) -> dict[str, object]:
        found = {name: read() for name, read in {**_SETTINGS, **_DRAWS}.items()}
        found["torch's generator"] = _seeds() if self._network.training else _states()
        found["its weights"] = _sums(self._network.parameters() if self._weights is None else self._weights)
        if not self._network.training:
            found["its buffers"] = _sums(self._network.buffers())
        if self._optimizer is not None:
            found["the optimizer's settings"] = [_without_weights(group) for group in self._optimizer.param_groups]
            found["the optimizer's steps"] = _steps(self._optimizer)
        return found


def _seeds() -> list[int]:
    return [torch.initial_seed(), *([torch.cuda.initial_seed()] if _on_gpu() else [])]


def _states() -> list[bytes]:
    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if _on_gpu() else [])]
    return [state.numpy().tobytes() for state in states]


def _on_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _sums(tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    """Which tensors there are, and the sum of the bits of each, which every change of one number changes."""
    found = [(id(tensor), _sum(tensor)) for tensor in tensors]
    sums = torch.stack([total for _, total in found]).tolist() if found else []
    return [(name, total) for (name, _), total in zip(found, sums, strict=True)]


@torch.no_grad()
def _sum(tensor: Tensor) -> Tensor:
    local = getattr(tensor, "_local_tensor", tensor).detach()  # of a DTensor: what this process has
    bits = local.contiguous().flatten()
    return bits.view(_BITS.get(bits.element_size(), torch.int64)).sum(dtype=torch.int64)


def _steps(optimizer: Optimizer) -> float | None:
    """Of the first weight: an optimiser steps with all at once."""
    states: list[dict[str, Any]] = list(optimizer.state.values())[:1]
    return float(states[0]["step"]) if states and "step" in states[0] else None


def _without_weights(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}
