"""What a denoiser costs: parameters, multiply-accumulates, peak memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable

import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .components import DenoiserSpec
from .record import Cost


def cost_of(denoiser: nn.Module, spec: DenoiserSpec) -> Cost:
    """Count a denoiser that was built on the meta device, so that size costs nothing."""
    tensors = dict(denoiser.named_parameters())
    tables = dict(denoiser.named_buffers())
    train_only = tuple(getattr(denoiser, "train_only", ()))
    return Cost(
        parameters=_count([*tensors.values(), *(b for b in tables.values() if b.is_floating_point())]),
        trainable_parameters=_count(p for p in tensors.values() if p.requires_grad),
        train_only_parameters=_count(
            p for name, p in tensors.items() if any(f"{name}.".startswith(f"{part}.") for part in train_only)
        ),
        macs_per_image=macs(denoiser, spec),
    )


def macs(denoiser: nn.Module, spec: DenoiserSpec) -> int:
    """Multiply-accumulates of one inference forward at batch 1, attention's products included.

    torch counts 2 operations per multiply-accumulate in matrix products, convolutions and attention;
    element-wise work is left out, as in the papers' "Gflops".
    """
    device = next(denoiser.parameters()).device
    x = torch.zeros(1, spec.channels, spec.resolution, spec.resolution, device=device)
    t, y = torch.zeros(1, device=device), torch.zeros(1, dtype=torch.long, device=device)
    training = denoiser.training
    denoiser.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(x, t, y)
    denoiser.train(training)
    return int(counter.get_total_flops()) // 2


def _count(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def peak_resident() -> int:
    """Most bytes of this process that were ever resident at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident() -> int:
    """Bytes of this process that are resident now."""
    return int(psutil.Process().memory_info().rss)


class PeakMemory:
    """Peaks of one phase: made when it starts, read when it ends."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @property
    def allocated(self) -> int | None:
        """Peak of live tensors on CUDA."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    @property
    def reserved(self) -> int | None:
        """Peak of what the allocator held on CUDA."""
        return torch.cuda.max_memory_reserved(self.device) if self.device.type == "cuda" else None

    @property
    def resident(self) -> int | None:
        """Peak resident set on a CPU, since the process started: a process's peak can't be reset."""
        return peak_resident() if self.device.type == "cpu" else None
