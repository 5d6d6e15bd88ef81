"""One run in several processes: what each of its ranks does, and how torch's elastic launcher starts and watches those
of this machine.

The process that was forked for the run becomes the launcher's agent. Rank 0 writes and reports; a rank that dies ends
all, and they start again from the run's checkpoint. What one raises would only repeat: it ends the run.
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
from dataclasses import replace
from multiprocessing.connection import Connection

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..benchmark import run as bench
from ..errors import DitbenchError, brief, one_line
from ..records.files import FILE_NAME
from ..registry import Registry
from ..runtime.distributed import World
from ..runtime.processes import begin
from ..runtime.progress import Diverged, Interrupted, Watch
from .jobs import LOG_FILE, PRELOAD, RESTARTS, Job, carry_out, write_failure
from .local import redirect_output, reporter, stop_on_signals
from .rendezvous import Seat

_WISHES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FAREWELL = 60.0  # seconds for all ranks to save and end
_ABANDONED = 600.0  # seconds for a rank whose launcher is gone
_LOOK = 0.2  # seconds between two looks at the store
_COLLATERAL = 3.0  # seconds in which a rank that raises may hear that another one's end was the cause


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
        elastic_launch(config, begin)(_rank, job, outbox)
    except SignalException:  # the ranks have been asked to save, and rank 0 writes so
        _see_them_off()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        write_failure(job, f"rank {rank}: {_in_words(failure.message)}")


def _see_them_off() -> None:
    """Wait for the ranks to save and end; the launcher does not, if it is asked twice."""
    for wish in _WISHES:
        signal.signal(wish, signal.SIG_IGN)
    until = time.monotonic() + _FAREWELL
    for rank in multiprocessing.active_children():
        rank.join(max(0.0, until - time.monotonic()))
        rank.kill()


def _in_words(message: object) -> str:
    """The launcher's word for how a rank ended, in one line."""
    known = message.get("message", message) if isinstance(message, dict) else message
    return one_line(known).removeprefix("RuntimeError: ")[:500]


@record  # what it raises reaches the launcher
def _rank(job: Job, outbox: Connection) -> None:
    """One of the launcher's processes."""
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    seat, job = Seat.of_environment(f"attempt-{attempt}"), replace(job, fresh=job.fresh and attempt == "0")
    store = seat.store()
    if seat.blamed(store):
        if seat.rank == 0 and (blame := seat.untold(store)):
            write_failure(job, blame.reason)
        return
    _leave_when_asked(take_part(job, seat, outbox))


def _leave_when_asked(stopping: list[int]) -> None:
    """From here on the launcher holds this process until all are done; if it ends, or has asked for it, that is now."""
    for wish in _WISHES:
        signal.signal(wish, lambda number, frame: os._exit(0))
    parent = multiprocessing.parent_process()
    if {signal.SIGINT, signal.SIGTERM} & set(stopping) or (parent is not None and not parent.is_alive()):
        os._exit(0)


def take_part(job: Job, seat: Seat, outbox: Connection) -> list[int]:
    """What a rank does: it carries the run out with the others. What it raises, it says in the store why.

    Returns the signals that asked it to stop.
    """
    done = threading.Event()
    threading.Thread(target=_end_with_the_run, args=(seat, done), daemon=True).start()
    try:
        return _take_part(job, seat, outbox)
    finally:
        done.set()


def _take_part(job: Job, seat: Seat, outbox: Connection) -> list[int]:
    began = time.time()
    redirect_output(job.directory / LOG_FILE)
    stopping = stop_on_signals()
    _stop_without_parent()
    world = World(seat.rank, seat.size, job.shard)
    torch.set_num_threads(max(1, job.environment.threads // seat.local_size))
    if job.config.device.startswith("cuda"):
        torch.cuda.set_device(seat.local_rank)
    seat.meet()
    try:
        if _carry_out(job, world, outbox, stopping) == "failed":
            seat.accuse(seat.store())
            return stopping
    except (Diverged, Interrupted):
        return stopping  # as on rank 0, which tells
    except Exception as error:
        known = isinstance(error, DitbenchError)
        if known and world.main:
            outbox.send(error)
            seat.accuse(seat.store())
        if _told_by_main(job, began, world, known):
            return stopping
        print(f"rank {world.rank}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        _blame(seat, str(error) if known else f"{type(error).__name__}: {error}", stopping)
        raise
    distributed.destroy_process_group()
    return stopping


def _carry_out(job: Job, world: World, outbox: Connection, stopping: list[int]) -> str:
    """Returns the record's status; on all but rank 0, which alone writes it, nothing."""
    if world.main:
        return carry_out(job, Watch(reporter(outbox, stopping), lambda: bool(stopping)), world).status
    if world.from_main(False):
        watch = Watch(lambda progress: None, lambda: bool(stopping))
        bench.run(job.config, job.directory, job.environment, Registry.installed(), watch, world)
    return ""


def _told_by_main(job: Job, began: float, world: World, known: bool) -> bool:
    """Whether rank 0 has recorded how the run ended: what it finds wrong breaks what the others do with it.

    Of what a user can mend it does so itself; the others give it time to find the same.
    """
    if world.main:
        return known
    deadline = time.monotonic() + (_COLLATERAL if known else 0)
    path = job.directory / FILE_NAME
    while not (path.exists() and path.stat().st_mtime >= began):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _end_with_the_run(seat: Seat, done: threading.Event) -> None:
    """End this process if the run has ended elsewhere: it may wait for ranks that will never come, as NCCL's do."""
    with suppress(distributed.DistError):  # the launcher is gone, see `_stop_without_parent`
        store = seat.store()
        while not done.wait(_LOOK):
            blame = seat.blamed(store)
            if blame and not done.wait(_COLLATERAL if blame.told else 0):
                os._exit(1)


def _blame(seat: Seat, reason: str, stopping: list[int]) -> None:
    """Say in the store what ends the run, unless it is but the consequence of another rank's end."""
    store, deadline = seat.store(), time.monotonic() + _COLLATERAL
    while time.monotonic() < deadline:
        if stopping or seat.blamed(store):
            return
        time.sleep(0.1)
    seat.accuse(store, f"rank {seat.rank}: {brief(one_line(reason))}")


def _stop_without_parent() -> None:
    """Save and end if whoever started this process is gone."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(_ABANDONED)
            os._exit(1)  # the others may have ended while this one waits for them

    threading.Thread(target=wait, daemon=True).start()
