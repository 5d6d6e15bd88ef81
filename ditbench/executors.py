"""Where runs happen: inline, or each in a clean process forked from a server that has imported torch once.

This module imports no torch; the process that carries out a run does. An executor is called as
``execute(jobs, listener)`` and yields one `Record` per job, in order, whatever happens to the run.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from .errors import DitbenchError, RunBusy
from .record import FILE_NAME, Environment, Record, Status, identity, read_record, write_record
from .registry import Registry
from .storage import sole_writer, sweep
from .track import RunConfig

LOG_FILE = "log.txt"  # what the run's process printed, and the traceback if it raised
PRELOAD = ("ditbench.bench",)  # pulls in torch, diffusers, torchmetrics, scikit-learn: about 15 s, once


@dataclass(frozen=True)
class Job:
    """One run and its directory."""

    config: RunConfig
    directory: Path


class Listener(Protocol):
    """Who hears of the runs while they go."""

    def started(self, config: RunConfig) -> None: ...

    def progress(self, config: RunConfig, progress: Any) -> None: ...


Execute = Callable[[Sequence[Job], Listener], Iterator[Record]]


def execute_inline(jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
    """Every run in this process, one after the other."""
    for job in jobs:
        listener.started(job.config)
        config = job.config
        yield carry_out(job, lambda p, config=config: listener.progress(config, p), lambda: False)  # type: ignore[misc]


def execute_in_process(jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
    """Every run in a process of its own, in turn. Ctrl-C lets the current one save, then stops."""
    for job in jobs:
        listener.started(job.config)
        worker = _Worker(_serve_run, job)
        interrupted = worker.listen(lambda progress, config=job.config: listener.progress(config, progress))  # type: ignore[misc]
        yield _outcome(job, worker)
        if interrupted:
            raise KeyboardInterrupt


def preflight(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Resolve every part of every run in a forked process, and give the runs their device.

    Raises the first `DitbenchError`. It also starts the server, so the imports are paid here.
    """
    answers: list[Any] = []
    worker = _Worker(_serve_preflight, configs)
    if worker.listen(answers.append):
        raise KeyboardInterrupt
    if not answers:
        raise RuntimeError(f"the preflight process ended with exit code {worker.exitcode} and said nothing")
    if isinstance(answers[0], DitbenchError):
        raise answers[0]
    return [config.model_copy(update={"device": answers[0]}) for config in configs]


def carry_out(job: Job, report: Callable[[Any], None], should_stop: Callable[[], bool]) -> Record:
    """Run one job to a written record: finished, failed, diverged or interrupted. Only `RunBusy` escapes."""
    bench, checkpoint = _late("ditbench.bench"), _late("ditbench.checkpoint")
    registry = Registry.installed()
    with sole_writer(job.directory):
        sweep(job.directory)
        try:
            watch = _late("ditbench.training").Watch(report, should_stop)
            record: Record = bench.run(job.config, registry, job.directory, watch)
        except (Exception, KeyboardInterrupt) as error:
            status, reason = _ending(error)
            if status == "failed":
                _log_traceback(job.directory)
            record = _unfinished(job, registry, status, reason, bench.describe(bench.find_device(job.config.device)))
        write_record(record, job.directory / FILE_NAME)
        if record.status == "finished":
            checkpoint.discard(job.directory)
    return record


def _late(module: str) -> Any:
    """A module that imports torch: only the process that carries out a run may ask for it."""
    return pkgutil.resolve_name(module)


def _ending(error: BaseException) -> tuple[Status, str]:
    """How a run that raised has ended, and why, in one line."""
    training = _late("ditbench.training")
    text = " ".join(str(error).split())
    if isinstance(error, training.Diverged):
        return "diverged", text
    if isinstance(error, training.Interrupted | KeyboardInterrupt):
        return "interrupted", text or "stopped by Ctrl-C"
    return "failed", text if isinstance(error, DitbenchError) else f"{type(error).__name__}: {text}"


def _log_traceback(directory: Path) -> None:
    with (directory / LOG_FILE).open("a", encoding="utf-8") as log:
        traceback.print_exc(file=log)


def _unfinished(
    job: Job, registry: Registry, status: Status, reason: str, environment: Environment | None = None
) -> Record:
    facts = identity(job.config, registry.architectures[job.config.architecture])
    return Record(**facts, status=status, reason=reason, environment=environment)


def _outcome(job: Job, worker: _Worker) -> Record:
    """The record that the run's process wrote, or one that says how the process died without writing it."""
    if worker.error is not None:
        raise worker.error
    path = job.directory / FILE_NAME
    if worker.exitcode == 0 and path.exists():
        return read_record(path)
    code = worker.exitcode or 0
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with exit code {code}"
    record = _unfinished(job, Registry.installed(), "interrupted", how)
    with sole_writer(job.directory):
        write_record(record, path)
    return record


class _Worker:
    """A process forked from the server that answers through a pipe."""

    def __init__(self, serve: Callable[..., None], task: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOAD))
        self._inbox, outbox = context.Pipe(duplex=False)
        self._process = context.Process(target=serve, args=(outbox, task), daemon=False)
        self._process.start()
        outbox.close()
        self.error: DitbenchError | None = None

    @property
    def exitcode(self) -> int | None:
        return self._process.exitcode

    def listen(self, hear: Callable[[Any], None]) -> bool:
        """Pass on what the process says until it ends; True if Ctrl-C came meanwhile.

        The first Ctrl-C asks the process to save and stop, the second kills it.
        """
        with _on_ctrl_c(self._stop) as presses:
            try:
                while True:
                    self._take(self._inbox.recv(), hear)
            except EOFError:
                self._process.join()
        return bool(presses)

    def _take(self, message: Any, hear: Callable[[Any], None]) -> None:
        if isinstance(message, RunBusy):
            self.error = message
        else:
            hear(message)

    def _stop(self, presses: int) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGINT if presses == 1 else signal.SIGKILL)


@contextmanager
def _on_ctrl_c(react: Callable[[int], None]) -> Iterator[list[int]]:
    """Call `react` with the number of Ctrl-Cs so far instead of raising where it may hurt; yields the presses.

    Signals reach the main thread alone, so elsewhere nothing changes.
    """
    presses: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield presses
        return

    def note(number: int, frame: FrameType | None) -> None:
        presses.append(number)
        react(len(presses))

    before = signal.signal(signal.SIGINT, note)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, before)


def _serve_run(outbox: Connection, job: Job) -> None:
    """In the run's own process: carry the job out, its output going to the run's log."""
    stopping = _stop_on_signals()
    job.directory.mkdir(parents=True, exist_ok=True)

    def report(progress: Any) -> None:
        try:
            outbox.send(progress)
        except BrokenPipeError:  # whoever started the run is gone: save and stop
            stopping.append(signal.SIGHUP)

    try:
        _redirect_output(job.directory / LOG_FILE)
        carry_out(job, report, lambda: bool(stopping))
    except RunBusy as error:
        outbox.send(error)


def _serve_preflight(outbox: Connection, configs: Sequence[RunConfig]) -> None:
    """In a forked process: resolve everything, answer with the device or with the user's mistake."""
    bench = _late("ditbench.bench")
    registry = Registry.installed()
    try:
        devices = [str(bench.resolve(config, registry).device) for config in configs]
    except DitbenchError as error:
        outbox.send(error)
    else:
        outbox.send(devices[0])


def _stop_on_signals() -> list[int]:
    """Make SIGINT and SIGTERM append to the list that is returned, instead of ending the process."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    return received


def _redirect_output(path: Path) -> None:
    """Send stdout and stderr to a file, so that a library's words don't break the live display."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
