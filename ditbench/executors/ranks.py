"""A run's work in several processes: what each of its ranks does, and how torch's elastic launcher starts and watches
those of this machine.

The process that was forked for the run becomes the launcher's agent, and measures when they are done. Rank 0 writes and
reports; a rank that dies ends all, and they start again from the run's checkpoint. What one raises would only repeat:
it ends the run.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

import psutil
import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..benchmark import run as bench
from ..errors import DitbenchError, RunBusy, brief, one_line
from ..records.facts import Work
from ..records.record import Record
from ..registry import Registry
from ..runtime.distributed import World
from ..runtime.processes import begin, stop_on_signals
from ..runtime.progress import Diverged, Interrupted, Watch
from .apart import FILE, LINGER, Failed, Outcome, found_in, leaving_nothing, outcome_of, pass_on, tell, teller
from .jobs import LOG_FILE, RESTARTS, Hands, Job, preload
from .local import redirect_output
from .rendezvous import Seat

_WISHES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FAREWELL = 60.0  # seconds for all ranks to save and end
_ABANDONED = 600.0  # seconds for a rank whose launcher is gone
_LOOK = 0.2  # seconds between two looks at the store
_CALL = 5.0  # seconds between two looks at who is there
_ABSENT = 90.0  # seconds that it may take until all ranks are there, libraries loaded
_COLLATERAL = 3.0  # seconds in which a rank that raises may hear that another one's end was the cause


def _work(job: Job, work: Callable[[Watch], Work | None], watch: Watch) -> Work | None:
    """See `Hands.work`; in `job.processes` ranks."""
    return _launched(job, watch, None).work


def _judge(job: Job, watch: Watch, work: Work) -> Record:
    """See `Hands.judge`; in as many ranks that are new, so that no plugin's network has been in any."""
    record = _launched(job, watch, work).record
    assert record is not None
    return record


TOGETHER = Hands(_work, _judge)


def _launched(job: Job, watch: Watch, done: Work | None) -> Outcome:
    """What ranks find that do the work of a job, or judge what is `done`. `Failed`: which could not, for good."""
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload([job.config], Registry.installed())))  # once for all ranks and attempts
    multiprocessing.forkserver.ensure_running()  # it stays
    (job.directory / FILE).unlink(missing_ok=True)
    inbox, outbox = context.Pipe(duplex=False)
    with leaving_nothing(), _relaying(inbox, job, watch):
        try:
            elastic_launch(config, begin)(_rank, job, done, outbox)
        except SignalException:  # the ranks have been asked to save, and rank 0 says so
            _see_them_off()
            return found_in(job.directory, -signal.SIGTERM).taken()
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise Failed(f"rank {rank}: {_in_words(failure.message)}") from None
        finally:
            outbox.close()
    return found_in(job.directory).taken()


@contextmanager
def _relaying(inbox: Connection, job: Job, watch: Watch) -> Iterator[None]:
    """Meanwhile, pass on what rank 0 says, and have the launcher end the ranks if the run is to stop.

    That is also so if the directory is another's now, and if a rank is gone that did not say so by its exit code.
    """
    over, lost, roll = threading.Event(), list[Exception](), _Roll(job)

    def relay() -> None:
        while not over.wait(_LOOK):
            pass_on(inbox, watch.report)
            try:
                roll.call()
                stop = watch.should_stop()
            except (Failed, RunBusy) as error:
                lost.append(error)
                stop = True
            if stop:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        pass_on(inbox, watch.report)
        if lost:
            raise lost[0]


class _Roll:
    """Notices that a rank has ended with exit code 0 before its work: for that one the launcher would wait for ever."""

    def __init__(self, job: Job) -> None:
        self._job, self._called, self._complete = job, time.monotonic(), time.monotonic()

    def call(self) -> None:
        """`Failed` if there have been too few ranks for longer than it takes to start them."""
        now = time.monotonic()
        if now - self._called < _CALL:
            return
        self._called = now
        if _ranks() >= self._job.processes or (self._job.directory / FILE).exists():
            self._complete = now
        elif now - self._complete > _ABSENT:
            raise Failed("one of its processes has ended without a word")


def _ranks() -> int:
    """How many processes the server has forked that this one has forks from."""
    with suppress(psutil.Error):
        servers = [one for one in psutil.Process().children() if any("forkserver" in word for word in one.cmdline())]
        return sum(len(server.children()) for server in servers)
    return 0


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
def _rank(job: Job, done: Work | None, outbox: Connection) -> None:
    """One of the launcher's processes."""
    seat = Seat.of_environment(f"attempt-{os.environ['TORCHELASTIC_RESTART_COUNT']}")
    store = seat.store()
    if seat.blamed(store):
        if seat.rank == 0 and (blame := seat.untold(store)):
            tell(job.directory, Outcome(ending="Failed", reason=blame.reason))
        return
    _leave_when_asked(take_part(job, seat, outbox, done))


def _leave_when_asked(stopping: list[int]) -> None:
    """From here on the launcher holds this process until all are done; if it ends, or has asked for it, that is now."""
    for wish in _WISHES:
        signal.signal(wish, lambda number, frame: os._exit(0))
    parent = multiprocessing.parent_process()
    if {signal.SIGINT, signal.SIGTERM} & set(stopping) or (parent is not None and not parent.is_alive()):
        os._exit(0)


def take_part(job: Job, seat: Seat, outbox: Connection, done: Work | None = None) -> list[int]:
    """What a rank does: with the others the work, or the judgement of what is done. What it raises, the store is told.

    Returns the signals that asked it to stop.
    """
    over, code = threading.Event(), 1
    threading.Thread(target=_end_with_the_run, args=(seat, over), daemon=True).start()
    try:
        with leaving_nothing():
            stopping = _take_part(job, seat, outbox, done)
        code = 0
        return stopping
    finally:
        over.set()
        _end_after_the_main_thread(code)


def _end_after_the_main_thread(code: int) -> None:
    """Threads that a plugin's network has started have some seconds to end."""

    def wait() -> None:
        threading.main_thread().join()
        time.sleep(LINGER)
        os._exit(code)

    threading.Thread(target=wait, daemon=True).start()


def _take_part(job: Job, seat: Seat, outbox: Connection, done: Work | None) -> list[int]:
    began = time.time()
    redirect_output(job.directory / LOG_FILE)
    stopping = stop_on_signals()
    _stop_without_parent()
    world = World(seat.rank, seat.size, job.shard)
    torch.set_num_threads(max(1, job.environment.threads // seat.local_size))
    if job.config.device.startswith("cuda"):
        torch.cuda.set_device(seat.local_rank)
    seat.meet()
    watch = Watch(teller(outbox) if world.main else lambda progress: None, lambda: bool(stopping))
    try:
        outcome = _done_by_rank(job, watch, world, done)
    except (Diverged, Interrupted) as error:
        _tell_as_main(job, world, error)
        return stopping
    except Exception as error:
        known = isinstance(error, DitbenchError)
        if known and world.main:
            _tell_as_main(job, world, error)
            seat.accuse(seat.store())
        if _told_by_main(job, began, world, known):
            return stopping
        sys.stderr.write(f"rank {world.rank}:\n{traceback.format_exc()}")  # which is the run's log
        sys.stderr.flush()
        _blame(seat, str(error) if known else f"{type(error).__name__}: {error}", stopping)
        raise
    if world.main:
        tell(job.directory, outcome)
    distributed.destroy_process_group()
    return stopping


def _done_by_rank(job: Job, watch: Watch, world: World, done: Work | None) -> Outcome:
    registry = Registry.installed()
    if done is None:
        return Outcome(ending="done", work=bench.work(job.config, job.directory, registry, watch, world))
    about = (job.config, job.directory, job.environment, registry, watch)
    return Outcome(ending="done", record=bench.judge(*about, done, world))


def _tell_as_main(job: Job, world: World, error: Exception) -> None:
    """The others are told by rank 0's end how theirs is to be taken."""

    def again() -> None:
        raise error

    if world.main:
        tell(job.directory, outcome_of(again))


def _told_by_main(job: Job, began: float, world: World, known: bool) -> bool:
    """Whether rank 0 has told how the work ended: what it finds wrong breaks what the others do with it.

    Of what a user can mend it does so itself; the others give it time to find the same.
    """
    if world.main:
        return known
    deadline = time.monotonic() + (_COLLATERAL if known else 0)
    path = job.directory / FILE
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
