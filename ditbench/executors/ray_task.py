"""What happens on a node of Ray's: one run, in a process of its own as anywhere else, and what it says on its way.

This module imports no Ray; Ray imports it, and calls it in the process of a task.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DitbenchError, RunBusy
from ..records.files import FILE_NAME
from ..records.record import Record, read_record
from ..runtime.inheritance import leave_out
from ..runtime.progress import Progress
from ..storage.claims import CLAIMS, waiting_for
from ..tracks.config import RunConfig
from .engine import Ready, Wishes
from .jobs import Job, unfinished, write_failure
from .listeners import Silent
from .local import InProcess, preflight
from .remote import of_this_machine

EVERY = 0.5  # seconds, at least, between two words of one run
PATIENCE = 300.0  # seconds that a run which is tried again waits for what its last try left behind
WAY_OUT = "name the hardware by accelerator=..., or give cpus=...."


@dataclass(frozen=True)
class Place:
    """Where a command stands and writes. Its nodes must see both."""

    start: Path  # the folder that the command was called in
    runs: Path

    def enter(self) -> None:
        """Stand there, too; a `DitbenchError` if this machine does not have it."""
        for folder in (self.start, self.runs):
            if not folder.is_dir():
                raise DitbenchError(
                    f"Ray's node does not have {str(folder)!r}: call the command in a folder, and give it an `out`, "
                    "on storage that all nodes share."
                )
        os.chdir(self.start)
        leave_out(self.start)  # which Ray puts there


class Mailbox:
    """What tasks say, until the command asks for it. It lives in an actor of Ray's."""

    def __init__(self) -> None:
        self._said: list[tuple[str, Progress | None]] = []

    def say(self, run: str, progress: Progress | None) -> None:
        """How far a run is; None: it begins. The name of the check before all runs is empty."""
        self._said.append((run, progress))

    def read(self) -> list[tuple[str, Progress | None]]:
        """All that was said since the last time."""
        said, self._said = self._said, []
        return said


class Telling(Silent):
    """Passes what one run says on to the `Mailbox`, but not all of it."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._stage, self._last = "", 0.0

    def started(self, config: RunConfig) -> None:
        self._mailbox.say.remote(config.run_id, None)

    def progress(self, config: RunConfig, progress: Progress) -> None:
        self.hear(config.run_id, progress)

    def hear(self, run: str, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and progress.done < 1 and now - self._last < EVERY:
            return
        self._stage, self._last = progress.stage, now
        self._mailbox.say.remote(run, progress)


def answer_preflight(
    place: Place, configs: Sequence[RunConfig], processes: int, mailbox: Any
) -> list[Ready] | DitbenchError:
    """`executors.preflight` as a task; a mistake is an answer, too."""
    told = Telling(mailbox)
    try:
        with _open_to_ctrl_c():
            place.enter()
            return preflight(configs, lambda progress: told.hear("", progress), processes)
    except DitbenchError as error:
        return error


def carry_out(place: Place, job: Job, again: bool, mailbox: Any) -> Record | DitbenchError:
    """Carry the run out to a record, or to what could not be had of a finished run.

    Ray's cancellation arrives as Ctrl-C: the run saves and stops. With `again` an earlier try was lost.
    """
    record = unfinished(job, "interrupted", "stopped before it began")
    try:
        with _open_to_ctrl_c():
            place.enter()
            if again:  # the process of a task that was killed notices that, saves and ends by itself
                with waiting_for(job.directory / CLAIMS, PATIENCE):
                    pass
            job = of_this_machine(job, "Ray", WAY_OUT)
            engine = InProcess(Wishes(job.directory.parent, parallel=1))
            for record in engine.execute([job], Telling(mailbox)):  # noqa: B007  (the one record, then what is raised)
                pass
    except KeyboardInterrupt:
        pass
    except RunBusy as error:
        return unfinished(job, "interrupted", str(error))
    except DitbenchError as error:
        if job.settled() is not None:
            return error
        write_failure(job, str(error))
        return read_record(job.directory / FILE_NAME)
    return record


@contextmanager
def _open_to_ctrl_c() -> Iterator[None]:
    """Ray's processes have SIGINT blocked, and what starts in one inherits that: a run could not be asked to save."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
