"""What a denoiser costs: parameters, multiply-accumulates."""

from __future__ import annotations

import copy
import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from ..components import Selection
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue, demand
from ..records.facts import Cost
from .bounds import without_memory
from .interface import StandInLoss, loss_of

_DRAWN = 1.25  # of the mean; the longest that MDT v2 draws is 1.03 of it


@dataclass(frozen=True)
class ForwardCost:
    """What a denoiser costs without training it: counts, as in a record's `Cost`."""

    parameters: int  # fixed tables included
    trainable_parameters: int
    train_only_parameters: int  # of all, never used by inference
    macs_per_image: int  # multiply-accumulates of one forward at batch 1, attention included


def cost_of(denoiser: nn.Module, spec: DenoiserSpec) -> Cost:
    """Count a denoiser's parameters, and its multiply-accumulates on one image.

    A copy is counted, with its own random draws: the denoiser and the generators stay as they are.
    """
    demand("denoiser", denoiser, nn.Module)
    demand("spec", spec, DenoiserSpec)
    with _copied(denoiser) as one:
        forward, training = _forward_cost(one, spec), training_macs(one, spec)
    return Cost(
        **asdict(forward),
        training_macs_per_image=training.macs,
        training_forwards=training.forwards,
        outside_macs_per_image=training.outside,
    )


def cost_of_selection(selection: Selection, spec: DenoiserSpec) -> Cost:
    """The same of a denoiser that is not built yet, on the meta device: it takes no memory."""
    with without_memory(selection.label):
        return cost_of(selection.build(spec), spec)


def forward_cost_of_selection(selection: Selection, spec: DenoiserSpec) -> ForwardCost:
    """The same without what training costs, which takes longest to count."""
    with without_memory(selection.label), _copied(selection.build(spec)) as one:
        return _forward_cost(one, spec)


def macs(denoiser: nn.Module, spec: DenoiserSpec) -> int:
    """Multiply-accumulates of one inference forward at batch 1, attention's products included.

    torch counts 2 operations per multiply-accumulate in matrix products, convolutions and attention;
    element-wise work is left out, as in the papers' "Gflops". Attention is taken apart: of the fused kernel of a CPU,
    torch 2.11 counts nothing.
    """
    denoiser.eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        denoiser(*_one_image(denoiser, spec))
    return int(counter.get_total_flops()) // 2


class TrainingMacs(NamedTuple):
    """What an image takes in training."""

    macs: int  # multiply-accumulates: every forward of its own loss, the backward, and `outside`
    forwards: int  # of the denoiser, in its own loss
    outside: int  # of the macs: forwards of networks that are not trained, whose features the loss uses


def training_macs(denoiser: nn.Module, spec: DenoiserSpec) -> TrainingMacs:
    """Multiply-accumulates per training image, every forward of its own loss and the backward; how many forwards.

    What checkpointing recomputes is left out. Where the loss draws how much it computes, as MDT v2's does, this is the
    mean over the draws: the denoiser's own `training_cost` says how it is made of single passes.

    Outside networks, as DINOv2 in REPA's loss: ``outside`` names the denoiser's modules that are such, and their
    forwards in the loss are measured; ``outside_macs`` is what those take for an image that the loss does not run
    itself, as where their features are kept. `BadValue` if either is wrong.

    Attention is taken apart, so that the count is the same on every device: fused kernels compute the logits once
    more in the backward pass, and some of them say so.
    """
    loss = StandInLoss(denoiser.train(), *_one_image(denoiser, spec))
    kept = _kept_outside(denoiser)
    own: Callable[[Callable[..., float]], float] | None = getattr(denoiser, "training_cost", None)
    macs = 0
    with _seen_outside(denoiser) as outside:
        if own is None:
            macs = _trained(lambda: loss_of(denoiser, loss))[0]
        else:
            loss_of(denoiser, loss)
    forwards, seen = loss.forwards, outside.flops // 2
    if own is not None:  # of single passes, which know no outside network
        macs = seen + round(own(lambda **extra: _trained(lambda: loss(**extra))[0]))
    return TrainingMacs(macs + kept, forwards, seen + kept)


def check_outside(cost: Cost, trained_with: Iterable[str], label: str) -> None:
    """`BadValue` unless a cost has work of outside networks where the architecture names some, and there alone."""
    names = ", ".join(trained_with)
    if names and not cost.outside_macs_per_image:
        raise BadValue(
            f"{label} is trained with features of {names}, but no work of theirs is counted: name their modules in the "
            "network's 'outside', or say in its 'outside_macs' what they take for an image."
        )
    if cost.outside_macs_per_image and not names:
        raise BadValue(
            f"{label} has {cost.outside_macs_per_image:,} multiply-accumulates of outside networks in its loss: name "
            "these in the plugin, as ditbench.Architecture(trained_with=(...,))."
        )


def _kept_outside(denoiser: nn.Module) -> int:
    """What outside networks take for an image elsewhere than in the loss."""
    told = getattr(denoiser, "outside_macs", 0)
    if type(told) is not int or told < 0:
        raise BadValue(f"{type(denoiser).__name__}.outside_macs is {told!r}: give a whole number from 0 on.")
    return told


@contextmanager
def _seen_outside(denoiser: nn.Module) -> Iterator[_Outside]:
    """Counts what the modules that ``outside`` names compute in their forwards meanwhile."""
    names = getattr(denoiser, "outside", ())
    modules = {name: getattr(denoiser, name, None) for name in ([names] if isinstance(names, str) else names)}
    for name, module in modules.items():
        if not isinstance(module, nn.Module):
            raise BadValue(f"{type(denoiser).__name__}.outside names {name!r}, which is no module of it.")
    counted = _Outside()
    hooks = [hook for module in modules.values() if module is not None for hook in counted.watch(module)]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield counted
    finally:
        for hook in hooks:
            hook.remove()


class _Outside:
    """FLOPs of the forwards of some modules."""

    def __init__(self) -> None:
        self.flops = 0
        self._at_work: list[tuple[ExitStack, FlopCounterMode]] = []  # a module within another is counted with that

    def watch(self, module: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
        """Count what it computes until the hooks that this gives are removed."""
        return module.register_forward_pre_hook(self._begin), module.register_forward_hook(self._end, always_call=True)

    def _begin(self, module: nn.Module, args: Any) -> None:
        stack = ExitStack()
        self._at_work.append((stack, stack.enter_context(FlopCounterMode(display=False))))

    def _end(self, module: nn.Module, args: Any, out: Any) -> None:
        stack, counter = self._at_work.pop()
        stack.close()
        if not self._at_work:
            self.flops += int(counter.get_total_flops())


def check_counted(denoiser: nn.Module, counted: int, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> None:
    """`BadValue` if real images take more multiply-accumulates in training than were counted of one that is all zeros.

    x (N, C, H, W), t (N,), y (N,) as training gives them; counted: `training_macs` of an image. A copy is run, which
    is not compiled, with random draws of its own. What it computes once for a whole batch counts once. Where the loss
    draws how much it computes, one draw of it, which differs from the mean, may take `_DRAWN` as much.
    """
    with _copied(denoiser, secrets.randbits(62)) as one:
        loss = StandInLoss(one.train(), x, t, y)
        own, drawn = getattr(one, "training_cost", None), _trained(lambda: loss_of(one, loss))[0]
        again = drawn if own is None else own(lambda **extra: _trained(lambda: loss(**extra))[0])
    most = max(again, drawn if own is None else drawn / _DRAWN) / len(x)
    if most > counted + 1:  # which was rounded
        raise BadValue(
            f"{type(denoiser).__name__} takes {most:,.0f} multiply-accumulates to train on an image of the data, but "
            f"{counted:,} when they were counted: it computes less while it is counted, or by its 'training_cost'."
        )


def recomputed_macs(denoiser: nn.Module, spec: DenoiserSpec) -> int:
    """Multiply-accumulates per training image that checkpointing adds, of one draw: no budget counts them."""
    with _copied(denoiser) as one:
        return _trained(lambda: loss_of(one, StandInLoss(one.train(), *_one_image(one, spec))))[1]


def _convolutions_gradients(
    grad: torch.Size, x: torch.Size, weight: torch.Size, *rest: Any, out_shape: Any, **_: Any
) -> int:
    """FLOPs of a convolution's backward: the input's gradient and the weights' each take what its forward took.

    torch counts the same without groups. With groups, as in a depthwise convolution, it counts the weights' gradient as
    if there were none: some hundred times too much.
    """
    transposed, asked = rest[4], rest[7]
    return int(2 * sum(asked[:2]) * x[0] * math.prod(weight) * math.prod((x if transposed else grad)[2:]))


_COUNTED = {torch.ops.aten.convolution_backward: _convolutions_gradients}


def _trained(loss: Callable[[], torch.Tensor]) -> tuple[int, int]:
    """Multiply-accumulates of a loss and its backward: those asked for once, and those of recomputing."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=_COUNTED) as counter:
        value = loss()
        with _Recomputing() as again:
            value.backward()  # type: ignore[no-untyped-call]
    return (int(counter.get_total_flops()) - again.flops) // 2, again.flops // 2


class _Recomputing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what a backward pass does with gradients on: only a forward pass that is done again does that."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation."""
        if not torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        with FlopCounterMode(display=False) as counter:
            found = func(*args, **(kwargs or {}))
        self.flops += int(counter.get_total_flops())
        return found


class _Attention(torch.autograd.Function):
    """Fused attention, as far as what it keeps for the backward pass goes: no map of all tokens by all."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, out)
        return out


class _Fused(TorchFunctionMode):
    """Takes every `scaled_dot_product_attention` for a fused one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call."""
        if func is F.scaled_dot_product_attention and len(args) >= 3:
            return _Attention.apply(*args[:3])
        return func(*args, **(kwargs or {}))


def activation_bytes(denoiser: nn.Module, spec: DenoiserSpec, *, fused: bool = False) -> int:
    """Bytes that one image leaves for the backward pass, in float32 and with attention as it is taken on a CPU.

    fused: with attention as on a GPU, which keeps no map of it; the numbers of a pass are then none.

    On the meta device, too, where it costs nothing. What is kept of a weight is not counted.
    """
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _memory_of(tensor) not in weights:
            kept[_memory_of(tensor)] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with _copied(denoiser) as one, hooks, _Fused() if fused else nullcontext():
        weights = {_memory_of(parameter) for parameter in one.parameters()}
        loss_of(one, StandInLoss(one.train(), *_one_image(one, spec)))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _memory_of(tensor: torch.Tensor) -> int:
    """The same for all views of one memory, as long as one of them lives."""
    return int(tensor.untyped_storage()._cdata)


@contextmanager
def _copied(denoiser: nn.Module, seed: int = 0) -> Iterator[nn.Module]:
    """A copy to count, and random draws of its own meanwhile."""
    with torch.random.fork_rng(devices={p.device for p in denoiser.parameters() if p.device.type == "cuda"}):
        torch.manual_seed(seed)
        yield copy.deepcopy(denoiser)


def _forward_cost(denoiser: nn.Module, spec: DenoiserSpec) -> ForwardCost:
    tensors = dict(denoiser.named_parameters())
    saved = denoiser.state_dict().keys()  # a buffer that is not follows from the settings
    tables = [table for name, table in denoiser.named_buffers() if name in saved and table.is_floating_point()]
    train_only = tuple(getattr(denoiser, "train_only", ()))
    return ForwardCost(
        parameters=_count([*tensors.values(), *tables]),
        trainable_parameters=_count(p for p in tensors.values() if p.requires_grad),
        train_only_parameters=_count(
            p for name, p in tensors.items() if any(f"{name}.".startswith(f"{part}.") for part in train_only)
        ),
        macs_per_image=macs(denoiser, spec),
    )


def _one_image(denoiser: nn.Module, spec: DenoiserSpec) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    device = next(denoiser.parameters()).device
    x = torch.zeros(1, *spec.shape, device=device)
    return x, torch.zeros(1, device=device), torch.zeros(1, dtype=torch.long, device=device)


def _count(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
