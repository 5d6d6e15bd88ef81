"""One run in several processes of this machine, started, watched and started again by torch's elastic launcher.

The process that was forked for the run becomes the launcher's agent. Rank 0 writes and reports; a rank that dies ends
all, and they start again from the run's checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from . import bench
from .errors import DitbenchError
from .executors import redirect_output, reporter, stop_on_signals
from .jobs import LOG_FILE, Job, carry_out, write_failure
from .processes import PRELOAD
from .record import FILE_NAME
from .registry import Registry
from .watch import Diverged, Interrupted, Watch
from .world import World

RESTARTS = 3
_PATIENCE = timedelta(days=1)  # one rank measures for long while the others wait; the launcher sees who dies


def carry_out_together(job: Job, outbox: Connection) -> None:
    """Carry a job out in `job.processes` ranks. Its record says how it ended, also if a rank failed for good."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=job.processes,
        run_id=job.config.run_id,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=RESTARTS,
        monitor_interval=0.5,
        start_method="forkserver",
    )
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(PRELOAD))  # once for all ranks and attempts
    try:
        with suppress(SignalException):  # the ranks have been asked to save, and rank 0 has written so
            elastic_launch(config, _rank)(job, outbox)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        write_failure(job, f"rank {rank}: {_in_words(failure.message)}")


def _in_words(message: object) -> str:
    """The launcher's word for how a rank ended, in one line."""
    known = message.get("message", message) if isinstance(message, dict) else message
    return " ".join(str(known).split()).removeprefix("RuntimeError: ")[:500]


@record  # what it raises reaches the launcher
def _rank(job: Job, outbox: Connection) -> None:
    """One of the processes."""
    began = time.time()
    redirect_output(job.directory / LOG_FILE)
    stopping = stop_on_signals()
    _stop_without_parent(stopping)
    world = World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    torch.set_num_threads(max(1, job.environment.threads // world.size))
    if job.config.device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    _meet(world)
    try:
        if world.main:
            carry_out(job, Watch(reporter(outbox, stopping), lambda: bool(stopping)), world)
        elif world.from_main(False):
            bench.run(
                job.config,
                job.directory,
                job.environment,
                Registry.installed(),
                Watch(lambda progress: None, lambda: bool(stopping)),
                world,
            )
    except (DitbenchError, Diverged, Interrupted):
        return  # as on rank 0, which tells
    except Exception:
        if not world.main and _has_ended(job, began):
            return  # rank 0 recorded what it found, which no restart would change, and left the others alone
        print(f"rank {world.rank}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        raise
    distributed.destroy_process_group()


def _has_ended(job: Job, began: float) -> bool:
    """Whether this attempt's rank 0 has written how the run ended."""
    path = job.directory / FILE_NAME
    return path.exists() and path.stat().st_mtime >= began


def _meet(world: World) -> None:
    """Set torch.distributed up, in a part of the launcher's store of its own: what earlier attempts left misleads."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = f"attempt-{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    whole = distributed.TCPStore(address, port, world.size, is_master=False)  # type: ignore[attr-defined]
    store = distributed.PrefixStore(attempt, whole)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=_PATIENCE)


def _stop_without_parent(stopping: list[int]) -> None:
    """Save and end if the launcher is gone."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            stopping.append(signal.SIGHUP)

    threading.Thread(target=wait, daemon=True).start()
