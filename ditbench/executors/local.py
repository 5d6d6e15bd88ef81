"""Where runs happen on this machine: inline, or each in a clean process forked from a server that has imported torch.

This module imports no torch; the process that carries out a run does. Each executor is an `Engine` of `engine.py`.
"""

from __future__ import annotations

import os
import pkgutil
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from ..errors import BadValue, DitbenchError, RunBusy
from ..records.facts import Environment
from ..records.files import FILE_NAME
from ..records.record import Record, read_record
from ..registry import Registry
from ..runtime.affinity import Slot
from ..runtime.inheritance import same_working_directory
from ..runtime.processes import WorkerProcess, answer_of, end_with_parent, ended, on_ctrl_c, stop_on_signals
from ..runtime.progress import Progress, ProgressCallback, Watch
from ..storage.files import Unwritable, make_folder, writing
from ..tracks.config import RunConfig
from .engine import Listener, Wishes
from .jobs import APART, INLINE, LOG_FILE, Job, carry_out, preload, recorded, unfinished


class Here:
    """What the engines of this machine have in common."""

    waits_for_others = False

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes

    def preflight(self, configs: Sequence[RunConfig], hear: ProgressCallback) -> tuple[list[RunConfig], Environment]:
        """See `Engine`. It also starts the server, so the imports are paid here."""
        return preflight(configs, hear, self.wishes.processes, self.wishes.parallel or 1)


class Inline(Here):
    """Every run in this process, one after the other. Ctrl-C lets the current one save, then stops."""

    def __init__(self, wishes: Wishes) -> None:
        wishes.only("inline")
        super().__init__(wishes)

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
    """Every run in a process of its own, one or several at a time. Ctrl-C lets those at work save, then stops."""

    def __init__(self, wishes: Wishes) -> None:
        wishes.only("process", "processes", "shard", "parallel")
        if wishes.parallel is not None and wishes.parallel < 1:
            raise BadValue(f"{wishes.parallel} runs at a time are none; give `parallel` 1 or more.")
        super().__init__(wishes)

    def execute(self, jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
        """See `Engine`."""
        faults: list[DitbenchError] = []
        at_once = self.wishes.parallel or 1
        free = [Slot(number, at_once) for number in range(at_once)]
        for worker in ended(_workers(jobs, free, listener), at_once):
            job, slot = worker.task
            free.append(slot)
            yield outcome(job, worker, faults)
        _raise_first(faults)


def _workers(jobs: Sequence[Job], free: list[Slot], listener: Listener) -> Iterator[WorkerProcess]:
    """The runs' processes, each with a slot that is free when it is asked for."""
    loaded = preload([job.config for job in jobs], Registry.installed()) if jobs else ()
    for job in jobs:
        listener.started(job.config)
        yield WorkerProcess(_serve_run, (job, free.pop(0)), partial(listener.progress, job.config), preload=loaded)


def _inline(job: Job, listener: Listener, presses: list[int], faults: list[DitbenchError]) -> Record:
    watch = Watch(lambda progress: listener.progress(job.config, progress), lambda: bool(presses))
    try:
        with same_working_directory():
            return carry_out(job, watch, INLINE)
    except RunBusy as error:
        return unfinished(job, "interrupted", str(error))
    except DitbenchError as error:
        if job.settled() is None:  # not even a record could be written
            raise
        faults.append(error)
        return read_record(job.directory / FILE_NAME)


def _raise_first(faults: Sequence[DitbenchError]) -> None:
    """What was asked of finished runs and could not be had is told when all runs have had their turn."""
    if faults:
        raise faults[0]


def preflight(
    configs: Sequence[RunConfig],
    hear: ProgressCallback = lambda progress: None,
    processes: int = 1,
    parallel: int = 1,
) -> tuple[list[RunConfig], Environment]:
    """Resolve every part of every run in a forked process; name the machine, and give the runs its device and data.

    Raises the first `DitbenchError`. It also starts the server, so the imports are paid here.
    """
    loaded, task = preload(configs, Registry.installed()), (configs, processes, parallel)
    known, told, environment = answer_of(_serve_preflight, task, hear, preload=loaded)
    return [
        config.model_copy(update={**known, "deviations": (*config.deviations, *told)}) for config in configs
    ], environment.model_copy(update={"processes": processes, "parallel": parallel})


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


def _serve_preflight(outbox: Connection, asked: tuple[Sequence[RunConfig], int, int]) -> None:
    """In a forked process: check everything, answer with what is known now of all runs or with the user's mistake.

    What is answered needs no torch where it is read.
    """
    end_with_parent()
    check = pkgutil.resolve_name("ditbench.benchmark.preflight:check")
    try:
        configs, processes, parallel = asked
        checked = check(configs, Registry.installed(), outbox.send, processes, parallel)
    except DitbenchError as error:
        outbox.send(error)
        return
    known = {name: getattr(checked, name) for name in ("device", "data_sha256", "reference_sha256")}
    known["hardware"] = checked.environment.hardware
    outbox.send((known, tuple(map(str, checked.deviations)), checked.environment))


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
