"""Memory that this process and its GPU have taken: now, and at most."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import torch

from ..errors import BadValue, brief, one_line
from ..records.facts import PeakMemory

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container of Linux's
_LEAST_FREE = 2**29  # bytes of a GPU: CUDA's own libraries take about as many
_LARGEST_OF_GLIBC = 2**25  # bytes up to which it learns by itself, mallopt(3)'s M_MMAP_THRESHOLD


def peak_resident() -> int:
    """Most bytes of this process that were ever resident at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def capacity(device: torch.device) -> int:
    """Bytes of memory that the device has in all; on a CPU, and where they share it, the machine.

    `BadValue` if a GPU can't be used, as when its driver is too old for torch, or is full already.
    """
    return _capacity_of_gpu(device) if device.type == "cuda" else int(psutil.virtual_memory().total)


def _capacity_of_gpu(device: torch.device) -> int:
    try:
        free, total = torch.cuda.mem_get_info(device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise BadValue(f"Device {str(device)!r} can't be used: {brief(one_line(error))} Try `device` cpu.") from None
    if free < _LEAST_FREE:
        used = f"{(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB are in use"
        raise BadValue(f"Device {str(device)!r} is full: {used}; `nvidia-smi` shows by whom. Wait, or take another.")
    return total


def available() -> int:
    """Bytes of the machine's memory that nobody uses, and no more than a container may have."""
    left = int(psutil.virtual_memory().available)
    try:
        return min(left, int(_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return left


def resident() -> int:
    """Bytes of this process that are resident now."""
    return int(psutil.Process().memory_info().rss)


def reset_peak(device: torch.device) -> None:
    """Begin a phase: CUDA's peaks start anew. A process's resident peak can't."""
    gc.collect()  # compiled networks refer to themselves
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # before it, no GPU has a number to torch
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def keep_what_is_freed() -> None:
    """Have the C library use freed blocks again, in a process that has not computed yet.

    glibc returns each block to the system, and has all its pages faulted in anew, up to the size of the largest that
    was freed so far. To measure 1,000 samples of digits took 4.0 s for that, in place of 3.0, and a training step of
    nano networks 4 to 5 % more: 1,000 to 2,700 faults each.
    """
    np.empty(_LARGEST_OF_GLIBC - 2**20, np.uint8)  # and is freed at once


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
