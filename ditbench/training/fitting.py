"""Whether a network and its batch can fit a device at all, told before anything is built there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import nn

from ..asking import Asked, in_turn
from ..denoiser.bounds import without_memory
from ..denoiser.cost import activation_bytes, training_macs
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue, PluginFault
from ..runtime.memory import capacity

FLOAT = 4  # bytes
SECONDS = 300.0  # in which a network must be built and counted without memory; the largest published take some
SURE = 4  # half the precision, and what a compiler saves: activations take no less than this part of what is counted


@dataclass(frozen=True)
class Kept:
    """Tensors that training keeps of each weight: the weights themselves, averages, gradients, and moments."""

    moments: int
    averages: int = 1

    def bytes(self, denoiser: nn.Module) -> int:
        """Of all of a denoiser's, fixed tables included."""
        tables = [table for table in denoiser.buffers() if table.is_floating_point()]
        numbers = sum(tensor.numel() for tensor in [*denoiser.parameters(), *tables])
        trained = sum(tensor.numel() for tensor in denoiser.parameters() if tensor.requires_grad)
        return FLOAT * ((1 + self.averages) * numbers + (1 + self.moments) * trained)


Question = tuple[str, Callable[[], nn.Module], DenoiserSpec, Kept]  # label, what builds it, and for what


@dataclass(frozen=True)
class Needs:
    """What a denoiser takes in training, in float32: bytes, and work."""

    weights: int  # with all that training keeps of them
    of_image: int  # what one image leaves for the backward pass
    macs: int | None = None  # multiply-accumulates to train on an image; None: not counted


def needs_of(denoiser: nn.Module, spec: DenoiserSpec, kept: Kept, count_macs: bool = False) -> Needs:
    """Of a denoiser on the meta device; counting its MACs leaves gradients in it."""
    of_image = activation_bytes(denoiser, spec, fused=True) // SURE
    macs = training_macs(denoiser, spec).macs if count_macs else None
    return Needs(kept.bytes(denoiser), of_image, macs)


def all_needs(questions: Iterable[Question], count_macs: bool = False) -> Iterator[Needs | None]:
    """The needs of denoisers, each of which is built without memory in a process of its own; some are side by side.

    To count MACs takes longest. Raises the first `DitbenchError`. None for a denoiser that breaks in any other way,
    ends its process or never comes.
    """
    starts = (partial(Asked, _needs, *one, count_macs, seconds=SECONDS, kinds=(Needs,)) for one in questions)
    return in_turn(starts, _needs_told)


def _needs_told(asked: Asked) -> Needs | None:
    try:
        return cast(Needs, asked.answer())
    except PluginFault:
        return None


def _needs(label: str, build: Callable[[], nn.Module], spec: DenoiserSpec, kept: Kept, count_macs: bool) -> Needs:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    with without_memory(label):
        return needs_of(build(), spec, kept, count_macs)


def check_fits(
    label: str,
    needs: Needs,
    images: int,
    device: torch.device,
    *,
    gpus: int = 1,
    remedy: str = "give `micro_batch`, or a smaller batch",
) -> None:
    """`BadValue` if a denoiser of these needs surely can't train with so many images in a pass of one GPU.

    What is kept may lie in shards over `gpus`. Only what can't be is refused: a run that passes may still need more.
    """
    memory, weights, of_image = capacity(device), needs.weights // gpus, needs.of_image
    has = f"{device} has {_gib(memory)}"
    if weights > memory:
        raise BadValue(
            f"{label} does not fit: weights, averages, gradients and moments take {_gib(weights)}, and {has}, enough "
            f"for {100 * memory // weights} % of it; choose a smaller size."
        )
    if weights + images * of_image > memory:
        fit = (memory - weights) // max(1, of_image)
        way = f"at most {fit:,} could: {remedy}" if fit else "not one fits"
        raise BadValue(f"{label} does not fit with {images:,} images in a pass: {has}, and {way}.")


def _gib(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"
