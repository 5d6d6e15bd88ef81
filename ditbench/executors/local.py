"""Where runs happen on this machine: inline, or each in a clean process forked from a server that has imported torch.

This module imports no torch; the process that carries out a run does. Each executor is an `Engine` of `engine.py`.
"""

from __future__ import annotations

import os
import pkgutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from ..asking import end_with_parent
from ..errors import BadValue, DitbenchError, RunBusy, demand
from ..records.files import FILE_NAME
from ..records.record import Record, read_record
from ..registry import Registry
from ..runtime.affinity import Slot
from ..runtime.devices import refuse_absent
from ..runtime.inheritance import check_environment, same_working_directory
from ..runtime.processes import WorkerProcess, answer_of, ended, on_ctrl_c, stop_on_signals
from ..runtime.progress import Progress, ProgressCallback, Watch
from ..storage.files import Unwritable, make_folder, writing
from ..tracks.budget import Budget
from ..tracks.config import RunConfig
from .engine import Listener, Ready, Wishes
from .jobs import APART, INLINE, LOG_FILE, Job, carry_out, preload, recorded, unfinished


class Here:
    """What the engines of this machine have in common."""

    waits_for_others = False

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes

    def refuse_at_once(self, configs: Sequence[RunConfig]) -> None:
        """`BadValue` for a device that can't be here, before anything is loaded, fetched or written."""
        refuse_absent(configs[0].device)

    def preflight(self, configs: Sequence[RunConfig], hear: ProgressCallback) -> list[Ready]:
        """See `Engine`. It also starts the server, so the imports are paid here."""
        return preflight(configs, hear, self.wishes.processes, self.wishes.parallel)


class Inline(Here):
    """Every run in this process, one after the other, and no other started. Ctrl-C lets a run save, then stops."""

    def __init__(self, wishes: Wishes) -> None:
        wishes.only("inline")
        super().__init__(wishes)

    def preflight(self, configs: Sequence[RunConfig], hear: ProgressCallback) -> list[Ready]:
        """See `Engine`."""
        check_environment()
        with same_working_directory():
            return _checked(configs, hear, processes=1, parallel=1)

    def execute(self, jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
        """See `Engine`."""
        faults: list[DitbenchError] = []
        for job in jobs:
            listener.started(job.config)
            with on_ctrl_c(lambda presses: None) as presses:
                yield _inline(job, listener, presses, faults)
            if presses:
                raise KeyboardInterrupt
        _raise_first(faults)


class InProcess(Here):
    """Every run in a process of its own, one or several at a time. Ctrl-C lets those at work save, then stops.

    Those that go side by side come first, of them those that take longest; then each of the others by itself.
    """

    def __init__(self, wishes: Wishes) -> None:
        wishes.only("process", "processes", "shard", "parallel")
        if wishes.parallel is not None and wishes.parallel < 1:
            raise BadValue(f"{wishes.parallel} runs at a time are none; give `parallel` 1 or more.")
        super().__init__(wishes)

    def execute(self, jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
        """See `Engine`."""
        faults: list[DitbenchError] = []
        for at_once, together in self._groups(jobs):
            free = [Slot(number, at_once) for number in range(at_once)]
            for worker in ended(_workers(together, free, listener), at_once):
                job, slot = worker.task
                free.append(slot)
                yield outcome(job, worker, faults)
        _raise_first(faults)

    def _groups(self, jobs: Sequence[Job]) -> Iterator[tuple[int, list[Job]]]:
        """How many go at a time, and which these are."""
        of_jobs = [self.wishes.parallel or job.environment.parallel for job in jobs]
        for at_once in sorted(set(of_jobs), reverse=True):
            together = [job for job, most in zip(jobs, of_jobs, strict=True) if most == at_once]
            yield at_once, sorted(together, key=_length, reverse=True) if at_once > 1 else together


def _length(job: Job) -> float:
    """What a run takes, beside others of its plan: they have one budget, or several in FLOPs."""
    images, budget = job.config.recipe.batch_size, Budget.parse(job.config.budget)
    if budget.unit == "flops":
        return budget.amount
    return job.macs if budget.unit == "steps" else job.macs / images


def _workers(jobs: Sequence[Job], free: list[Slot], listener: Listener) -> Iterator[WorkerProcess]:
    """The runs' processes, each with a slot that is free when it is asked for."""
    loaded = preload([job.config for job in jobs], Registry.installed()) if jobs else ()
    for job in jobs:
        listener.started(job.config)
        yield WorkerProcess(_serve_run, (job, free.pop(0)), partial(listener.progress, job.config), preload=loaded)


def _inline(job: Job, listener: Listener, presses: list[int], faults: list[DitbenchError]) -> Record:
    watch = Watch(lambda progress: listener.progress(job.config, progress), lambda: bool(presses))
    try:
        with same_working_directory(), _own_threads():
            Slot().take(job.config.device != "cpu", job.processes, job.environment.threads)
            return carry_out(job, watch, INLINE)
    except RunBusy as error:
        return unfinished(job, "interrupted", str(error))
    except DitbenchError as error:
        if job.settled() is None:  # not even a record could be written
            raise
        faults.append(error)
        return read_record(job.directory / FILE_NAME)


@contextmanager
def _own_threads() -> Iterator[None]:
    """Afterwards torch and the other libraries have as many threads in this process as before."""
    torch = pkgutil.resolve_name("torch")
    pools, before = pkgutil.resolve_name("threadpoolctl:ThreadpoolController")(), torch.get_num_threads()
    try:
        with pools.limit():
            yield
    finally:
        torch.set_num_threads(before)


def _raise_first(faults: Sequence[DitbenchError]) -> None:
    """What was asked of finished runs and could not be had is told when all runs have had their turn."""
    if faults:
        raise faults[0]


def preflight(
    configs: Sequence[RunConfig],
    hear: ProgressCallback = lambda progress: None,
    processes: int = 1,
    parallel: int | None = 1,
) -> list[Ready]:
    """Resolve every part of every run in a forked process; give the runs their device, their data and their threads.

    `parallel` None: as many at a time as do well. Raises the first `DitbenchError`. It also starts the server, so the
    imports are paid here.
    """
    demand("configs", configs, list, tuple)
    for config in configs:
        demand("configs", config, RunConfig)
    if not configs:
        raise BadValue("`configs` names no run.")
    loaded, task = preload(configs, Registry.installed()), (configs, processes, parallel)
    found: list[Ready] = answer_of(_serve_preflight, task, hear, preload=loaded)
    return found


def outcome(job: Job, worker: WorkerProcess, faults: list[DitbenchError]) -> Record:
    """The record that the run's process wrote, or one that says how the process died without writing it.

    A finished run stays finished; what was asked of it besides and could not be had goes to the faults. `Unwritable` if
    there is no room for a record at all.
    """
    path = job.directory / FILE_NAME
    if isinstance(worker.fault, RunBusy):  # the directory is another command's: this row is told, not written
        return unfinished(job, "interrupted", str(worker.fault))
    if worker.exitcode == 0 and worker.fault is None and path.exists():
        return read_record(path)
    kept = job.settled()
    if kept is not None:
        faults.append(worker.fault or DitbenchError(job.stays(worker.how_it_ended)))
        return kept
    unwritten = worker.fault.reason if isinstance(worker.fault, Unwritable) else ""
    why = f"its record could not be written: {unwritten}" if unwritten else worker.how_it_ended
    return recorded(job, unfinished(job, "interrupted", why))


def _serve_run(outbox: Connection, task: tuple[Job, Slot]) -> None:
    """In the run's own process: carry the job out, its output going to the run's log."""
    job, slot = task
    stopping = stop_on_signals()
    slot.take(job.config.device != "cpu", job.processes, job.environment.threads)
    try:
        make_folder(job.directory)
        redirect_output(job.directory / LOG_FILE)
        together = job.together and job.settled() is None
        by = pkgutil.resolve_name("ditbench.executors.ranks:TOGETHER") if together else APART
        carry_out(job, Watch(reporter(outbox, stopping), lambda: bool(stopping)), by)
    except DitbenchError as error:
        outbox.send(error)


def reporter(outbox: Connection, stopping: list[int]) -> ProgressCallback:
    """What sends a run's progress to whoever started it; if they are gone, the run is to save and stop."""

    def report(progress: Progress) -> None:
        try:
            outbox.send(progress)
        except BrokenPipeError:
            stopping.append(signal.SIGHUP)

    return report


def _serve_preflight(outbox: Connection, asked: tuple[Sequence[RunConfig], int, int | None]) -> None:
    """In a forked process: check everything, answer with the runs or with the user's mistake."""
    end_with_parent()
    configs, processes, parallel = asked
    try:
        outbox.send(_checked(configs, outbox.send, processes, parallel))
    except DitbenchError as error:
        outbox.send(error)


def _checked(configs: Sequence[RunConfig], hear: ProgressCallback, processes: int, parallel: int | None) -> list[Ready]:
    """The runs as they are to be, once all has been checked. None of it needs torch where it is read."""
    check = pkgutil.resolve_name("ditbench.benchmark.preflight:check")
    found = check(configs, Registry.installed(), hear, processes, parallel)
    known = {name: getattr(found, name) for name in ("device", "data_sha256", "reference_sha256")}
    told = tuple(map(str, found.deviations))
    runs = []
    for config, environment, macs in zip(configs, found.environments, found.macs, strict=True):
        of_run = {**known, "hardware": environment.hardware, "libraries": found.libraries[config.label]}
        given = environment.model_copy(update={"processes": processes})
        planned = config.model_copy(update={**of_run, "deviations": (*config.deviations, *told)})
        runs.append(Ready(planned, given, macs))
    return runs


def redirect_output(path: Path) -> None:
    """Send stdout and stderr to a file, so that a library's words don't break the live display."""
    with writing(path):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # nobody listens, as where a service starts programs
            stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
