"""Memory that this process and its GPU have taken: now, and at most."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Sequence

import psutil
import torch

from ..records.facts import PeakMemory


def peak_resident() -> int:
    """Most bytes of this process that were ever resident at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def capacity(device: torch.device) -> int:
    """Bytes of memory that the device has in all; on a CPU, the machine."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def resident() -> int:
    """Bytes of this process that are resident now."""
    return int(psutil.Process().memory_info().rss)


def reset_peak(device: torch.device) -> None:
    """Begin a phase: CUDA's peaks start anew. A process's resident peak can't."""
    gc.collect()  # compiled networks refer to themselves
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def device_used(device: torch.device) -> int:
    """Bytes of a GPU that are in use now, whoever uses them: the CUDA context and other processes included."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def peak_memory(device: torch.device, used: Sequence[int] = ()) -> PeakMemory:
    """The peaks since `reset_peak`, `used` being samples of `device_used`; on a CPU, since the process started."""
    if device.type != "cuda":
        return PeakMemory(resident=peak_resident())
    return PeakMemory(
        allocated=torch.cuda.max_memory_allocated(device),
        reserved=torch.cuda.max_memory_reserved(device),
        device_used=max(used, default=None),
    )
