"""Where runs happen: inline, or each in a clean process forked from a server that has imported torch once.

This module imports no torch; the process that carries out a run does. An executor is called as
``execute(jobs, listener)`` and yields one `Record` per job, in order, whatever happens to the run.
"""

from __future__ import annotations

import os
import pkgutil
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from .errors import BadValue, DitbenchError, RunBusy
from .processes import Worker, answer_of, end_with_parent, on_ctrl_c
from .record import FILE_NAME, SAMPLES_FILE, Environment, Record, Status, identity, read_record, write_record
from .registry import Registry
from .storage import LOCK_FILE, cache_folder, sole_writer, sweep
from .track import RunConfig
from .watch import Diverged, Interrupted, Progress, Watch

LOG_FILE = "log.txt"  # what the run's process printed, and the traceback if it raised


@dataclass(frozen=True)
class Job:
    """One run, its directory, and the machine it runs on."""

    config: RunConfig
    directory: Path
    environment: Environment
    fresh: bool = False  # start over, whatever the directory holds
    processes: int = 1  # that train and sample together

    def settled(self) -> Record | None:
        """The record of a run that need not run again: it finished, or its divergence would only repeat."""
        path = self.directory / FILE_NAME
        if self.fresh or not path.exists():
            return None
        record = read_record(path)
        return record if record.status in ("finished", "diverged") else None

    def check_milestones(self, record: Record) -> None:
        """`BadValue` if a finished run is asked for measurements on the way that were not made."""
        missing = set(self.config.eval_at) - {milestone.at for milestone in record.milestones}
        if record.status == "finished" and not record.left_out and missing:
            points = ", ".join(f"{at * 100:g}%" for at in sorted(missing))
            raise BadValue(f"{record.run_id} is finished and was not measured at {points}; --force trains it again.")

    def lacks(self, record: Record) -> bool:
        """A finished run is asked for more than was kept of it: its samples, or what its raw weights score."""
        samples = self.config.keep_samples and not (self.directory / SAMPLES_FILE).exists()
        return record.status == "finished" and (samples or (self.config.raw_weights and record.raw is None))


class Listener(Protocol):
    """Who hears of the runs while they go."""

    def started(self, config: RunConfig) -> None: ...

    def progress(self, config: RunConfig, progress: Progress) -> None: ...


Execute = Callable[[Sequence[Job], Listener], Iterator[Record]]


def execute_inline(jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
    """Every run in this process, one after the other. Ctrl-C lets the current one save, then stops."""
    faults: list[DitbenchError] = []
    for job in jobs:
        listener.started(job.config)
        with on_ctrl_c(lambda presses: None) as presses:
            watch = Watch(
                lambda progress, config=job.config: listener.progress(config, progress),  # type: ignore[misc]
                lambda presses=presses: bool(presses),  # type: ignore[misc]
            )
            try:
                record = carry_out(job, watch)
            except RunBusy as error:
                record = unfinished(job, "interrupted", str(error))
            except DitbenchError as error:  # of a finished run
                faults.append(error)
                record = read_record(job.directory / FILE_NAME)
        yield record
        if presses:
            raise KeyboardInterrupt
    _raise_first(faults)


def execute_in_process(jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
    """Every run in a process of its own, in turn. Ctrl-C lets the current one save, then stops."""
    faults: list[DitbenchError] = []
    for job in jobs:
        listener.started(job.config)
        worker = Worker(_serve_run, job)
        interrupted = worker.listen(lambda progress, config=job.config: listener.progress(config, progress))  # type: ignore[misc]
        yield _outcome(job, worker, faults)
        if interrupted:
            raise KeyboardInterrupt
    _raise_first(faults)


def _raise_first(faults: Sequence[DitbenchError]) -> None:
    """What was asked of finished runs and could not be had is told when all runs have had their turn."""
    if faults:
        raise faults[0]


def preflight(
    configs: Sequence[RunConfig], hear: Callable[[Progress], None] = lambda progress: None, processes: int = 1
) -> tuple[list[RunConfig], Environment]:
    """Resolve every part of every run in a forked process; name the machine, and give the runs its device and data.

    Raises the first `DitbenchError`. It also starts the server, so the imports are paid here.
    """
    checked = answer_of(_serve_preflight, (configs, processes), hear)
    known = {name: getattr(checked, name) for name in ("device", "data_sha256", "reference_sha256")}
    known["hardware"] = checked.environment.hardware
    return [
        config.model_copy(update={**known, "deviations": (*config.deviations, *checked.deviations)})
        for config in configs
    ], checked.environment.model_copy(update={"processes": processes})


def carry_out(job: Job, watch: Watch, world: Any = None) -> Record:
    """Run one job to a written record: finished, failed, diverged or interrupted. `RunBusy` if it is another's.

    With a `World` this is its main process: the others are told whether there is anything to run, and an error that is
    no result of the run is not recorded but raised, so that they can start again.
    """
    bench, about = _late("ditbench.bench"), (job.config, job.directory, job.environment)
    with sole_writer(job.directory):
        if job.fresh:
            _empty(job.directory)
        sweep(job.directory)
        record = job.settled()
        if world is not None:
            world.from_main(record is None)
        try:
            if record is None:
                record = bench.run(*about, Registry.installed(), watch, *([world] if world else []))
            elif job.lacks(record):
                record = bench.supplement(*about, record, Registry.installed(), watch)
            else:
                return record
        except BaseException as error:
            if record is not None and isinstance(error, Interrupted):
                return record
            if record is not None:  # a finished run stays finished, whatever happened to what was asked for later
                raise
            if world is not None and not isinstance(error, Diverged | Interrupted | DitbenchError):
                raise
            record = unfinished(job, *_ending(error, job))
        record = write_record(record, job.directory / FILE_NAME)
        if record.status == "finished":
            _late("ditbench.checkpoint").discard(job.directory)
    return record


def _late(module: str) -> Any:
    """A module that imports torch: only the process that carries out a run may ask for it."""
    return pkgutil.resolve_name(module)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in (LOCK_FILE, LOG_FILE):
            entry.unlink()


def _ending(error: BaseException, job: Job) -> tuple[Status, str]:
    """How a run that raised has ended, and why, in one line without paths; a bug's traceback goes into its log."""
    text = " ".join(str(error).split())
    known = (str(job.directory), job.config.data, job.config.reference, str(cache_folder()))
    for place in filter(None, known):
        whole = Path(place).expanduser().resolve()
        for spelled in (str(whole), place if "/" in place else str(whole)):  # "." stands in many a sentence
            text = text.replace(spelled, whole.name)
    if isinstance(error, Diverged):
        return "diverged", text
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted", text or "stopped by Ctrl-C"
    with (job.directory / LOG_FILE).open("a", encoding="utf-8") as log:
        traceback.print_exc(file=log)
    return "failed", text if isinstance(error, DitbenchError) else f"{type(error).__name__}: {text}"


def unfinished(job: Job, status: Status, reason: str) -> Record:
    """The record of a run that did not finish."""
    return Record(**identity(job.config), status=status, reason=reason, environment=job.environment)


def _outcome(job: Job, worker: Worker, faults: list[DitbenchError]) -> Record:
    """The record that the run's process wrote, or one that says how the process died without writing it.

    A finished run stays finished; what was asked of it besides and could not be had goes to the faults.
    """
    path = job.directory / FILE_NAME
    if isinstance(worker.fault, RunBusy):  # the directory is another command's: this row is told, not written
        return unfinished(job, "interrupted", str(worker.fault))
    if worker.exitcode == 0 and worker.fault is None and path.exists():
        return read_record(path)
    kept = job.settled()
    if kept is not None:
        how = f"{job.directory.name!r} stays as it finished; what more was asked of it failed: {worker.how_it_ended}."
        faults.append(worker.fault or DitbenchError(how))
        return kept
    record = unfinished(job, "interrupted", worker.how_it_ended)
    with sole_writer(job.directory):
        return write_record(record, path)


def _serve_run(outbox: Connection, job: Job) -> None:
    """In the run's own process: carry the job out, its output going to the run's log."""
    stopping = stop_on_signals()
    job.directory.mkdir(parents=True, exist_ok=True)
    redirect_output(job.directory / LOG_FILE)
    try:
        if job.processes > 1 and job.settled() is None:
            _late("ditbench.ranks").carry_out_together(job, outbox)
        else:
            carry_out(job, Watch(reporter(outbox, stopping), lambda: bool(stopping)))
    except DitbenchError as error:
        outbox.send(error)


def reporter(outbox: Connection, stopping: list[int]) -> Callable[[Progress], None]:
    """What sends a run's progress to whoever started it; if they are gone, the run is to save and stop."""

    def report(progress: Progress) -> None:
        try:
            outbox.send(progress)
        except BrokenPipeError:
            stopping.append(signal.SIGHUP)

    return report


def write_failure(job: Job, reason: str) -> None:
    """Record that the run failed, unless it had an end of its own."""
    with sole_writer(job.directory):
        if job.settled() is None:
            write_record(unfinished(job, "failed", reason), job.directory / FILE_NAME)


def _serve_preflight(outbox: Connection, asked: tuple[Sequence[RunConfig], int]) -> None:
    """In a forked process: check everything, answer with device and environment or with the user's mistake."""
    end_with_parent()
    check = _late("ditbench.parts").check
    try:
        configs, processes = asked
        outbox.send(check(configs, Registry.installed(), outbox.send, processes))
    except DitbenchError as error:
        outbox.send(error)


def stop_on_signals() -> list[int]:
    """Make the signals that ask a process to end append to the list that is returned, instead of ending it."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, note)
    return received


def redirect_output(path: Path) -> None:
    """Send stdout and stderr to a file, so that a library's words don't break the live display."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
