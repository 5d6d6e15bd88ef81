"""Checks of training, and of the ways that the harness runs a network: autocast, compiled, on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ...errors import BadValue, brief, one_line
from ..cost import check_counted, check_outside, cost_of
from ..guard import Guard
from ..interface import training_loss
from .places import in_layer, layer_at_work
from .subject import Broken, Check, NotHere, Subject, require

_BACKEND = "aot_eager"  # captures forward and backward as graphs, as inductor does, and needs no C++ compiler


def _gradients(subject: Subject) -> str:
    denoiser = subject.build().train()
    torch.manual_seed(3)
    loss = training_loss(denoiser, *subject.batch())
    require(loss.ndim == 0, f"the training loss has shape {tuple(loss.shape)}, not ()")
    loss.backward()  # type: ignore[no-untyped-call]
    trainable = {name: p.grad for name, p in denoiser.named_parameters() if p.requires_grad}
    complaints = [f"{fault} {name!r}" for name, gradient in trainable.items() if (fault := _fault(gradient))]
    more = f" and {len(complaints) - 3} more" if len(complaints) > 3 else ""
    require(not complaints, "; ".join(complaints[:3]) + more)
    return f"all of {len(trainable)}"


def _fault(gradient: Tensor | None) -> str:
    if gradient is None:
        return "no gradient for"
    if not gradient.isfinite().all():
        return "not finite is the gradient of"
    return "" if gradient.abs().sum() > 0 else "zero everywhere is the gradient of"


def _changes_nothing(subject: Subject) -> str:
    denoiser = subject.build()
    try:
        with Guard(denoiser.train(), torch.optim.AdamW(denoiser.parameters())).surroundings():
            training_loss(denoiser, *subject.batch(3)).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad(), Guard(denoiser.eval()).surroundings():
            denoiser(*subject.batch(3))
    except BadValue as fault:
        raise Broken(str(fault)) from None
    return "weights, generators, the optimizer and torch's settings are as they were"


def _counted_as_trained(subject: Subject) -> str:
    cost = cost_of(subject.build(), subject.spec)
    counted = cost.training_macs_per_image
    try:
        check_outside(cost, subject.selection.architecture.trained_with, subject.selection.label)
        check_counted(subject.build(), counted, *subject.batch())
    except BadValue as fault:
        raise Broken(str(fault)) from None
    return f"{counted:,} multiply-accumulates per image"


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the type of every matrix product, convolution and attention: what torch counts FLOPs of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: dict[torch.dtype, nn.Module | None] = {}  # of each type, the first layer that computes in it

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "overloadpacket", None) in flop_registry:
            for kind in {arg.dtype for arg in args if isinstance(arg, Tensor)} - self.layers.keys():
                self.layers[kind] = layer_at_work()
        return func(*args, **(kwargs or {}))


def _autocast(subject: Subject) -> str:
    denoiser = subject.build()
    with torch.autocast("cpu", dtype=torch.bfloat16), _Products() as seen:
        loss = training_loss(denoiser, *subject.batch(3))
        with torch.no_grad():  # attention takes another path
            out = denoiser(*subject.batch(3))
    require(bool(out.isfinite().all() and loss.isfinite()), "the output or the loss is not finite")
    others = [f"{kind}{in_layer(denoiser, layer)}" for kind, layer in seen.layers.items() if kind != torch.bfloat16]
    require(not others, f"matrix products in {', '.join(sorted(others))}")
    return "every matrix product in bfloat16"


def _compiles(subject: Subject) -> str:
    """Its own loss, masked passes included, and the backward pass through it, as one graph each."""
    eager, compiled = _all_gradients(subject, False), _all_gradients(subject, True)  # its own error comes first
    for name, expected in eager.items():
        try:
            torch.testing.assert_close(compiled[name], expected, rtol=1e-3, atol=1e-5)
        except AssertionError as error:
            require(False, f"compiled, the gradient of {name!r} differs: {brief(one_line(error))}")
    return f"forward and backward, backend {_BACKEND}"


def _all_gradients(subject: Subject, compile: bool) -> dict[str, Tensor | None]:
    torch._dynamo.reset()
    denoiser = subject.build()
    if compile:
        denoiser.compile(fullgraph=True, backend=_BACKEND)
    torch.manual_seed(3)
    training_loss(denoiser, *subject.batch(3)).backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in denoiser.named_parameters()}


def _cuda(subject: Subject) -> str:
    if not torch.cuda.is_available():
        raise NotHere("no CUDA device")
    denoiser, batch = subject.build().eval(), subject.batch()
    with torch.no_grad():
        expected = denoiser(*batch)
        out = denoiser.to("cuda")(*(tensor.to("cuda") for tensor in batch)).cpu()
    gap = float((out - expected).abs().max() / expected.abs().max())
    require(gap <= 1e-2, f"the GPU's output differs from the CPU's by {gap:.1e}")
    _backward(denoiser.train(), *(tensor.to("cuda") for tensor in batch))
    return f"as on the CPU, to {gap:.0e}; trains"


def _backward(denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> None:
    training_loss(denoiser, x, t, y).backward()  # type: ignore[no-untyped-call]
    require(
        all(p.grad is None or bool(p.grad.isfinite().all()) for p in denoiser.parameters()), "a gradient is not finite"
    )


CHECKS = (
    Check(
        "gradients",
        "a scalar training loss, and a finite gradient that is not zero for every trainable parameter",
        "remove what is never used, or freeze it: requires_grad_(False)",
        _gradients,
    ),
    Check(
        "changes-nothing",
        "a forward pass leaves weights, optimizer, generators and torch's settings alone, and so does its backward",
        "return the output, and do nothing else; threads, types and devices are the harness's to set",
        _changes_nothing,
    ),
    Check(
        "counted-as-trained",
        "no more multiply-accumulates on images than are counted on zeros",
        "compute as much whatever the input; let `training_cost` say what `training_loss` takes",
        _counted_as_trained,
    ),
    Check(
        "autocast-bfloat16",
        "finite under autocast, every matrix product in bfloat16",
        "leave types to autocast: no .float() before a linear layer or attention",
        _autocast,
        mends_errors=True,
    ),
    Check(
        "compiles",
        "torch.compile(fullgraph=True) of its training loss, with the gradients of eager mode",
        "no Python control flow on tensors' values, no .item(), no print in forward",
        _compiles,
        mends_errors=True,
    ),
    Check("cuda", "on a GPU as on the CPU", "make tensors on the device of x", _cuda, mends_errors=True),
)
