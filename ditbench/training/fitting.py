"""Whether a network and its batch can fit a device at all, told before anything is built there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..components import DenoiserSpec
from ..denoiser.cost import activation_bytes
from ..errors import BadValue
from ..runtime.memory import capacity

FLOAT = 4  # bytes
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


def check_fits(
    label: str,
    denoiser: nn.Module,
    spec: DenoiserSpec,
    kept: Kept,
    images: int,
    device: torch.device,
    *,
    gpus: int = 1,
    remedy: str = "give `micro_batch`, or a smaller batch",
) -> None:
    """`BadValue` if a denoiser on the meta device surely can't train with so many images in a pass of one GPU.

    What is kept may lie in shards over `gpus`. Only what can't be is refused: a run that passes may still need more.
    """
    memory, weights = capacity(device), kept.bytes(denoiser) // gpus
    has = f"{device} has {_gib(memory)}"
    if weights > memory:
        raise BadValue(
            f"{label} does not fit: weights, averages, gradients and moments take {_gib(weights)}, and {has}, enough "
            f"for {100 * memory // weights} % of it; choose a smaller size."
        )
    of_image = activation_bytes(denoiser, spec, fused=True) // SURE
    if weights + images * of_image > memory:
        fit = (memory - weights) // max(1, of_image)
        way = f"at most {fit:,} could: {remedy}" if fit else "not one fits"
        raise BadValue(f"{label} does not fit with {images:,} images in a pass: {has}, and {way}.")


def _gib(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"
