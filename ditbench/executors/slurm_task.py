"""What happens on a node of Slurm's: one run, in a process of its own as anywhere else, that time may run out for.

Shortly before it does, Slurm sends SIGUSR1: the run saves and stops, and submitit puts the task back into the queue,
where it goes on from the checkpoint.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from ..errors import DitbenchError, RunBusy
from ..records.files import FILE_NAME
from ..records.record import Record, read_record
from ..tracks.config import RunConfig
from .engine import Ready, Wishes
from .jobs import Job, unfinished, write_failure
from .listeners import Silent
from .local import InProcess, preflight
from .remote import library_of, of_this_machine
from .slurm_queue import claim

SAVE = signal.SIGUSR1  # "your time is nearly up"
LINGER = 600.0  # seconds, at most, that a task waits for Slurm to end it after SIGTERM


@dataclass(frozen=True)
class SlurmTask:
    """One run, in a process of Slurm's. This is what submitit pickles."""

    job: Job

    def __call__(self) -> Record | DitbenchError:
        """Carry the run out to a record, or to what could not be had of a finished run."""
        here, put_back = library().JobEnvironment(), signal.getsignal(_submitits_signal())
        record = unfinished(self.job, "interrupted", "stopped before it began")
        with _asked_to_save() as received:
            try:
                again = claim(here.paths.folder, self.job.config.run_id, here.cluster, here.job_id)
                job = _of_this_machine(replace(self.job, fresh=self.job.fresh and not again))  # a new start goes on
                engine = InProcess(Wishes(job.directory.parent, parallel=1))
                for record in engine.execute([job], Silent()):  # noqa: B007  (the one record, then what is raised)
                    pass
            except KeyboardInterrupt:  # how the signals in `received` end it
                pass
            except RunBusy as error:
                return unfinished(self.job, "interrupted", str(error))
            except DitbenchError as error:
                if self.job.settled() is not None:
                    return error
                write_failure(self.job, str(error))
                return read_record(self.job.directory / FILE_NAME)
        if received and record.status == "interrupted":
            _leave(received, put_back)
        return record

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue: the same run, which finds its checkpoint by itself."""
        return library().helpers.DelayedSubmission(self)


def answer_preflight(configs: Sequence[RunConfig], processes: int) -> list[Ready] | DitbenchError:
    """`executors.preflight` as a task; a mistake is an answer, too."""
    try:
        return preflight(configs, processes=processes)
    except DitbenchError as error:
        return error


def library() -> Any:
    """submitit; a `DitbenchError` if it is not installed."""
    return library_of("slurm", "submitit:SlurmExecutor")


def _of_this_machine(job: Job) -> Job:
    """The job with this machine for its environment; a `DitbenchError` if its run is named for other hardware.

    What is forked from the server that starts here is deaf to the signals that are for this process: Slurm sends them
    to every process of a task.
    """
    ours = {SAVE, _submitits_signal()}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    try:
        return of_this_machine(
            job, "Slurm", "name the hardware by a constraint, or plan on a machine of the partition."
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _asked_to_save() -> Iterator[list[int]]:
    """The first signal that asks a task to end becomes Ctrl-C, upon which a run saves; all that came are yielded.

    Afterwards they are ignored, for there is nothing more to save.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            signal.raise_signal(signal.SIGINT)

    wishes = (SAVE, _submitits_signal(), signal.SIGTERM, signal.SIGHUP)
    try:
        for wish in wishes:
            signal.signal(wish, note)
        yield received
    finally:
        for wish in wishes:
            signal.signal(wish, signal.SIG_IGN)


def _leave(received: Sequence[int], put_back: Any) -> None:
    """The run is saved. Go back into the queue if time was up; if Slurm is ending the task, let it.

    A task that ends by itself while it is preempted would count as complete, and not come back.
    """
    if {SAVE, _submitits_signal()} & set(received) and callable(put_back):
        put_back(SAVE, None)  # submitit's handler: it requeues the task and exits
    if signal.SIGTERM in received and "SLURM_JOB_ID" in os.environ:
        time.sleep(LINGER)


def _submitits_signal() -> signal.Signals:
    return signal.Signals[f"SIG{library().JobEnvironment.USR_SIG}"]
