"""What a denoiser does, as a dozen numbers: of its initial weights, of outputs at several times and labels, of a loss.

Machines, threads and versions of torch round differently, which moves a number by about 1e-6 of its scale. Versions
also draw differently: torch 2.15 fills a tensor with other truncated normal numbers than 2.11, from one seed. So what
is drawn is only summed up, by statistics that another draw hardly moves, and then gives way to fixed numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ..denoiser_spec import DenoiserSpec
from ..records.fingerprint import ALSO, ALWAYS, TOLERANCE
from .interface import Batch, example_batch, training_loss

# Multiply-accumulates of an image's forward, above which a network is big: of such a one two outputs are computed, and
# no gradients. DiT-S/4 is below, and DiT-S/2 above. A core takes 0.3 s for DiT-nano, 3 s for either of these, and 12 s
# for DiT-XL/2.
BIG = 2e9
IMAGES = 4  # of which two are enough of a big network: the first, and the last, whose label is the null label
SAMPLE = 2**16  # numbers of a tensor that tell whether it is drawn, and how
PERTURBED = 0.05  # deviation of what is added to the weights that are not drawn: many begin as 0, and hide others
DRAWS = 5.0  # standard errors by which a statistic of drawn numbers may move from one draw to another

_DRAWS = {torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default}
Numbers = dict[str, tuple[float, float]]  # name -> value, scale


def fingerprint(build: Callable[[], nn.Module], spec: DenoiserSpec) -> dict[str, Any]:
    """The fields of a `records.fingerprint.Fingerprint` in plain values, of what `build` makes from torch's seed 0.

    It takes torch's generator and settings for itself: call it in a process of its own.
    """
    other = {name: _sample(tensor).clone() for name, tensor in _tensors(_built(build, 1))}
    denoiser = _built(build, 0)
    torch.set_float32_matmul_precision("highest")  # of a CPU, too; after the plugin's modules, which may set it
    drawn = [name for name, tensor in _tensors(denoiser) if not torch.equal(_sample(tensor), other[name])]
    found = _of_weights(dict(_tensors(denoiser)), drawn)
    _fix(denoiser, drawn)
    outputs, big = _of_outputs(denoiser.eval(), _batch(spec))
    found |= outputs if big else outputs | _of_training(denoiser.train(), _batch(spec))
    numbers = {name: found[name] for name in (*ALWAYS, *ALSO) if name in found}
    return {
        "shapes_sha256": _shapes(denoiser),
        "numbers": {name: {"value": _short(value), "scale": _short(scale)} for name, (value, scale) in numbers.items()},
    }


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    with _ShortDraws():  # type: ignore[no-untyped-call]
        return build().float()


class _ShortDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Draws the sample of a large tensor and repeats it: of XL/2's 675 M weights, no other number is looked at."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _DRAWS or args[0].numel() <= SAMPLE or not args[0].is_contiguous():
            return func(*args, **kwargs)
        sample, *others = args[0].view(-1).split(SAMPLE)
        func(sample, *args[1:], **kwargs)
        for part in others:
            part.copy_(sample[: len(part)])
        return args[0]


def _tensors(denoiser: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Its weights and tables."""
    for name, tensor in (*denoiser.named_parameters(), *denoiser.named_buffers()):
        if tensor.is_floating_point() and tensor.numel():
            yield name, tensor.detach()


def _sample(tensor: Tensor) -> Tensor:
    return tensor.flatten()[:SAMPLE]


def _shapes(denoiser: nn.Module) -> str:
    """Hash of the weights' shapes, whatever they are called and wherever they stand."""
    shapes = sorted(tuple(one.shape) for one in denoiser.parameters())
    return hashlib.sha256(repr(shapes).encode()).hexdigest()


def _of_weights(tensors: dict[str, Tensor], drawn: list[str]) -> Numbers:
    """How large the weights are that are not drawn; and of those that are: how large, around what, and in what form.

    A tensor counts by the root of its size, so that a small one is seen beside large ones, and moves little by chance.
    """
    fixed = _rms([_sample(tensor) for name, tensor in tensors.items() if name not in drawn])
    samples = [_sample(tensors[name]).double() for name in drawn]
    counts = [math.sqrt(one.numel()) for one in samples]
    total = sum(counts) or 1.0
    scale = DRAWS / TOLERANCE * math.sqrt(len(samples)) / total

    def mean(of: Callable[[Tensor], float]) -> tuple[float, float]:
        return math.fsum(count * of(one) for count, one in zip(counts, samples, strict=True)) / total, scale

    return {
        "weights.fixed": (fixed, fixed),
        "weights.size": mean(lambda one: math.log(_rms([one]))),
        "weights.mean": mean(lambda one: float(one.mean()) / _rms([one])),
        "weights.form": mean(lambda one: float(one.abs().mean()) / _rms([one])),
    }


@torch.no_grad()
def _fix(denoiser: nn.Module, drawn: list[str]) -> None:
    """Put fixed numbers in place of those that are drawn, and add some to the other weights that are trained."""
    trained = {name for name, one in denoiser.named_parameters() if one.requires_grad}
    for seed, (name, tensor) in enumerate(_tensors(denoiser)):
        noise = torch.from_numpy(_noise(seed, tensor.numel())).view(tensor.shape)
        if name in drawn:
            tensor.copy_(noise / math.sqrt(_inputs(tensor)))
        elif name in trained:
            tensor.add_(PERTURBED * noise)


def _inputs(tensor: Tensor) -> int:
    """What a weight adds up, so that a layer's output is as large as its input; of a table, the width."""
    return tensor.numel() // len(tensor) if tensor.ndim > 1 and len(tensor) > 1 else tensor.numel() and tensor.shape[-1]


def _batch(spec: DenoiserSpec) -> Batch:
    x, t, y = example_batch(spec, IMAGES)
    return torch.from_numpy(_noise(-1, x.numel())).view(x.shape), t, y


@torch.no_grad()
def _of_outputs(denoiser: nn.Module, batch: Batch) -> tuple[Numbers, bool]:
    """Each image's output on a fixed vector; and whether the network is big, so that two had to do."""
    ends = torch.tensor([0, IMAGES - 1])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # as in `cost.macs`
        found = list(denoiser(*(one[ends] for one in batch)))
    big = counter.get_total_flops() / 2 / len(found) > BIG
    found += [] if big else list(denoiser(*(one[1:-1] for one in batch)))
    numbers = {f"output.{place}": _projected(one, place) for place, one in enumerate(found, start=1)}
    return numbers, big


def _of_training(denoiser: nn.Module, batch: Batch) -> Numbers:
    """The loss, by the network's own `training_loss` if it has one, and the norms of its gradients."""
    torch.manual_seed(3)
    loss = training_loss(denoiser, *batch)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [one.grad for one in denoiser.parameters() if one.grad is not None]
    found = {
        "loss": float(loss.detach()),
        "gradient.matrices": _norm(one for one in gradients if one.ndim > 1),
        "gradient.vectors": _norm(one for one in gradients if one.ndim <= 1),
    }
    return {name: (value, abs(value)) for name, value in found.items()}


def _projected(output: Tensor, seed: int) -> tuple[float, float]:
    """The sum with fixed weights of a size that leaves it as large as the output's numbers, however many there are."""
    values = output.double().flatten().numpy()
    return float(_noise(-1 - seed, len(values)) @ values) / math.sqrt(len(values)), _rms([output])


def _noise(seed: int, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Fixed numbers of mean 0 and deviation 1, from bits that no version of NumPy draws differently."""
    bits = np.random.Philox(key=seed % 2**64).random_raw((count + 1) // 2).view(np.uint32)[:count]
    return (bits.astype(np.float32) * np.float32(2**-31) - 1) * np.float32(math.sqrt(3))


def _rms(tensors: list[Tensor]) -> float:
    return _norm(tensors) / math.sqrt(max(1, sum(one.numel() for one in tensors)))


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.hypot(*(float(torch.linalg.vector_norm(one.detach(), dtype=torch.float64)) for one in tensors))


def _short(number: float) -> float:
    return float(f"{number:.9g}")
