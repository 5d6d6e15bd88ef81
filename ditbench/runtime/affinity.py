"""Places for runs at the same time on one machine: each has its own GPUs, or its own cores, and its share of threads.

Imports no torch; the process that carries out a run has.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container of Linux's: microseconds of processors, in so many
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology"  # Linux's, of a logical processor


@dataclass(frozen=True)
class Slot:
    """One of `of` places; by itself the only one, which has the whole machine."""

    number: int = 0
    of: int = 1

    def gpus(self, processes: int, visible: str | None) -> str:
        """`CUDA_VISIBLE_DEVICES` of a run here, a GPU for each of its processes, out of what the variable says now."""
        mine = range(self.number * processes, (self.number + 1) * processes)
        if visible is None:
            return ",".join(map(str, mine))
        return ",".join(entry.strip() for entry in visible.split(",")[mine.start : mine.stop])

    def cores(self, processors: Sequence[int]) -> list[int]:
        """Its share of logical processors, as many as any other slot's; all of them if there are fewer than slots."""
        each = len(processors) // self.of
        return list(processors[self.number * each :][:each] if each else processors)

    def take(self, on_gpu: bool, processes: int, threads: int) -> None:
        """Bind this process, and those that it will start, to the slot. CUDA must not have been asked for anything."""
        as_it_is = on_gpu or threads == pkgutil.resolve_name("torch:get_num_threads")()
        if self.of == 1 and as_it_is:
            return
        pkgutil.resolve_name("torch:set_num_threads")(threads)
        pkgutil.resolve_name("threadpoolctl:threadpool_limits")(threads)  # numpy's: they round KID's ninth digit
        if self.of == 1:
            return
        if on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus(processes, os.environ.get("CUDA_VISIBLE_DEVICES"))
        elif hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores(processors()))


def processors() -> list[int]:
    """The logical processors that this process may use, those of one core, and of one socket, side by side."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 0))
    return sorted(os.sched_getaffinity(0), key=_place)


def quota() -> int:
    """How many processors' time a container may take, the last one in part; without a container, all there are."""
    try:
        microseconds, of = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # no container, or "max"
        return os.cpu_count() or 1
    return -(-microseconds // of)


def _place(processor: int) -> tuple[int, int, int]:
    """Socket, core and number of a logical processor; where Linux does not tell, its number alone."""
    topology = Path(TOPOLOGY.format(processor))
    try:
        socket, core = (int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return 0, 0, processor
    return socket, core, processor
