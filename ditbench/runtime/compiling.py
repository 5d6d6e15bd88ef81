"""`torch.compile` of a network by its repeated blocks: one graph for all blocks of a kind, in place of one for all.

A network of 28 blocks as one graph takes minutes to compile, and its gradients arrive all at once, so that several
processes average none of them meanwhile. What is compiled here is `forward` alone: hooks stay outside (FSDP2's gather a
block's weights), the names of weights do not change, and a copy of the network is not compiled.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo
from torch._dynamo import maybe_mark_dynamic
from torch._dynamo.callback import callback_handler
from torch._dynamo.utils import counters
from torch.fx.experimental import _config as shapes

from .precision import Choice, Way

Clock = Callable[[], float]
BACKEND: str | Callable[..., Any] = "inductor"  # tests count graphs with another
_WAYS: dict[Choice, Way] = {"on": "whole", "off": "off", "blocks": "blocks"}
_Forward = Callable[..., Any]


def way_of(choice: Choice, device: torch.device) -> Way:
    """What is compiled on a device. On a CPU that seldom pays, so auto doesn't."""
    return _WAYS.get(choice, "blocks" if device.type == "cuda" else "off")


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The repeated blocks: what stands in lists of modules, and whatever else of the network computes as these do.

    A list's single layers are none, nor is what holds lists of its own: there the inner ones have the blocks.
    """
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    listed = [module for modules in lists for module in modules if _is_block(module)]
    alike = {type(module).forward for module in listed} - {nn.Sequential.forward}  # FSDP2 changes the class
    chosen = set(map(id, listed))
    return [module for module in network.modules() if id(module) in chosen or type(module).forward in alike]


def _is_block(module: nn.Module) -> bool:
    parts = list(module.modules())
    return len(parts) > 1 and not any(isinstance(part, nn.ModuleList) for part in parts)


def compile_network(network: nn.Module, way: Way, batches_vary: bool = False) -> nn.Module:
    """The network itself, compiled as it is run: by its blocks, or whole where it has none or that is asked.

    batches_vary: the first dimension of inputs is dynamic from the start. Otherwise one that varies becomes dynamic at
    its second value, which compiles once more.
    """
    parts = [] if way == "off" else (blocks_of(network) if way == "blocks" else []) or [network]
    for module in parts:
        if not isinstance(module.__dict__.get("forward"), _Compiled):
            run = _compiled(type(module).forward, _kind(module), batches_vary, BACKEND)
            module.__dict__["forward"] = _Compiled(module, run, batches_vary)
    return network


def compiled_function(function: _Forward) -> _Forward:
    """A function of a batch's tensors, compiled."""
    return torch.compile(function, backend=BACKEND)


class CompileWatch:
    """The seconds that `torch.compile` has taken so far, recompilations and the backward pass's share included.

    warm: of these, for graphs that its cache on the disk had. Others are cold.
    """

    def __init__(self, clock: Clock) -> None:
        self.seconds = self.warm = 0.0
        self._cached = 0, 0
        self._clock, self._began = clock, 0.0

    def __enter__(self) -> CompileWatch:
        callback_handler.register_start_callback(self._start)
        callback_handler.register_end_callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        callback_handler.remove_start_callback(self._start)
        callback_handler.remove_end_callback(self._end)

    def _start(self, _: object) -> None:
        self._began, self._cached = self._clock(), _cached()

    def _end(self, _: object) -> None:
        took, (found, missed) = self._clock() - self._began, _cached()
        self.seconds += took
        self.warm += took if found > self._cached[0] and missed == self._cached[1] else 0.0


def _cached() -> tuple[int, int]:
    """How many graphs the cache had so far, and how many not."""
    told = counters["inductor"]
    return told["fxgraph_cache_hit"], told["fxgraph_cache_miss"]


@contextmanager
def compiling(watch: CompileWatch) -> Iterator[None]:
    """What runs meanwhile is compiled so that a block is one graph for all batches, and its time is watched.

    DDP would cut it at the borders of what it sends at once, and a batch of 256 images would be taken for their 256
    tokens.
    """
    with watch, dynamo.patch(optimize_ddp=False), shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
        yield


class _Compiled:
    """The `forward` of one module, by the graphs of its kind. A copy of the module has its class's own again."""

    def __init__(self, module: nn.Module, run: _Forward, batches_vary: bool) -> None:
        self._module, self._run, self._batches_vary = module, run, batches_vary

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()) if self._batches_vary else ():
            if isinstance(value, Tensor) and value.dim():
                maybe_mark_dynamic(value, 0)
        return self._run(self._module, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> MethodType:
        return MethodType(type(self._module).forward, copy.deepcopy(self._module, memo))


def _kind(module: nn.Module) -> str:
    """The same for modules whose weights and tables have the same names and shapes."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    content = repr([(name, tuple(tensor.shape)) for name, tensor in tensors])
    return hashlib.sha256(content.encode()).hexdigest()[:8]


@cache  # a network built again, as a sharded one is to draw samples, has the same graphs
def _compiled(forward: _Forward, kind: str, batches_vary: bool, backend: str | Callable[..., Any]) -> _Forward:
    own = _with_code_of_its_own(forward, f"{kind}_any" if batches_vary else kind)
    return torch.compile(own, backend=backend)


def _with_code_of_its_own(forward: _Forward, name: str) -> _Forward:
    """A copy of a function. By its code Dynamo keeps which graphs there are, 8 at most, and which dimensions vary.

    Blocks of several widths would look to it like one whose width varies.
    """
    if not isinstance(forward, FunctionType):
        return forward
    code = forward.__code__.replace(co_name=f"{forward.__name__}_{name}")
    own = FunctionType(code, forward.__globals__, forward.__name__, forward.__defaults__, forward.__closure__)
    own.__kwdefaults__ = forward.__kwdefaults__
    return own
