"""A run's work in a process of its own, which a plugin's network lives in, and what is taken from it.

Whoever asks for the work stays free of the plugin: it hears and reads JSON alone, never an object that the other made.
It is forked before anything of a plugin is imported, and ends with whoever asked. Imports no torch.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import psutil
import pydantic

from ..asking import end_with_parent, how_it_ended
from ..errors import BadFile, BadValue, DitbenchError, brief, one_line
from ..records.facts import Work
from ..records.record import Record
from ..runtime.processes import stop_on_signals
from ..runtime.progress import Diverged, Interrupted, Progress, ProgressCallback, Watch
from ..storage.files import write_text
from ..storage.schema import Frozen, read_checked

FILE = "work.json"  # in the run's directory: how the work has ended
LINGER = 3.0  # seconds in which the process must end after its work, with all that it has started
_END_WITH_PARENT, _ADOPT = 1, 36  # PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of linux/prctl.h
_ROUNDS = 100  # of killing what may go on starting others
_LOOK = 0.2  # seconds between two looks at whether to stop
_DONE = b"done"  # the last word
_LONGEST = 10_000  # bytes of a word on the way
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP)
_Progress = pydantic.TypeAdapter(Progress)


class Failed(Exception):
    """The work broke, for a reason that says all; a traceback, if there was one, is in the run's log."""


class Killed(Exception):
    """The process that worked was killed from outside, and may go on."""


class Outcome(Frozen):
    """How the work has ended."""

    ending: Literal["done", "Diverged", "Interrupted", "Killed", "Failed", "DitbenchError", "BadFile", "BadValue"]
    reason: str = ""
    work: Work | None = None  # of what trains; None: only files were asked for
    record: Record | None = None  # of what measures

    def taken(self) -> Outcome:
        """The same if it is done; or the error that it ended with."""
        if self.ending == "done":
            return self
        raise _RAISED[self.ending](self.reason)


_RAISED = {kind.__name__: kind for kind in (Diverged, Interrupted, Killed, Failed, DitbenchError, BadFile, BadValue)}


def outcome_of(work: Callable[[], Work | None]) -> Outcome:
    """How some work ends, whatever it raises; of what nobody expects, the traceback goes to standard error."""
    try:
        return Outcome(ending="done", work=work())
    except KeyboardInterrupt:
        return Outcome(ending="Interrupted", reason="stopped by Ctrl-C")
    except (Diverged, Interrupted, DitbenchError) as error:
        known = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _RAISED)
        return Outcome(ending=known, reason=_shortly(error))  # type: ignore[arg-type]  # one of those names
    except BaseException as error:
        traceback.print_exc()
        return Outcome(ending="Failed", reason=f"{type(error).__name__}: {_shortly(error)}")


def _shortly(error: BaseException) -> str:
    return brief(one_line(error))


def apart(work: Callable[[Watch], Work | None], directory: Path, watch: Watch) -> Work | None:
    """What some work in a run's directory answers from a process that is forked for it.

    Its progress goes to `watch`. Raises what `Outcome.taken` does, and whatever `watch` raises, after killing it.
    """
    return found_in(directory, forked(_begin, work, directory, watch)).taken().work


def forked(serve: Callable[[Any, Path, Connection], object], task: Any, directory: Path, watch: Watch) -> int:
    """Have a task served by a process that is forked for it, and say how that ended, by its exit code.

    It says what it does by a `teller`, and how its work ended by `tell`.
    """
    (directory / FILE).unlink(missing_ok=True)
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=serve, args=(task, directory, theirs))
    try:
        with leaving_nothing():
            _start(process)
            theirs.close()
            _listen(process, ours, watch)
            process.join(LINGER)
    finally:
        if process.pid is not None:
            process.join()
        ours.close()
    return process.exitcode or 0


def _start(process: BaseProcess) -> None:
    with warnings.catch_warnings():
        # Python warns of a fork beside threads: those of this process only look at the clock and at the claim
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """At the end, kill what has begun meanwhile below this process and has not ended, whoever started it.

    Linux gives us what loses its parent; elsewhere nobody knows whose that was.
    """
    _prctl(_ADOPT, 1)
    before = _below()
    try:
        yield
    finally:
        for _ in range(_ROUNDS):
            if not (left := _below() - before):
                break
            for one in left:
                with suppress(psutil.Error):
                    one.kill()
            time.sleep(0.01)


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # there is none but on Linux
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _below() -> set[psutil.Process]:
    """What runs below this process."""
    found = set()
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found |= {one} if one.status() != psutil.STATUS_ZOMBIE else set()
    return found


def _begin(work: Callable[[Watch], Work | None], directory: Path, outbox: Connection) -> None:
    """In the forked process."""
    _prctl(_END_WITH_PARENT, signal.SIGKILL)  # also while native code keeps all threads waiting
    end_with_parent()
    stopping = stop_on_signals()
    tell(directory, outcome_of(lambda: work(Watch(teller(outbox), lambda: bool(stopping)))))
    hang_up(outbox)


def hang_up(outbox: Connection) -> None:
    """Say the last word, whatever else goes on in this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError):
        outbox.send_bytes(_DONE)


def tell(directory: Path, outcome: Outcome) -> None:
    """Leave the outcome where whoever asked for the work reads it."""
    write_text(directory / FILE, outcome.model_dump_json())


def found_in(directory: Path, exitcode: int = 0) -> Outcome:
    """How the work has ended; of a process that does not say so, how that one did."""
    if not (directory / FILE).exists():
        return _unsaid(exitcode)
    try:
        return read_checked(Outcome, directory / FILE, kind="outcome of a run's work")
    except BadFile as error:
        return Outcome(ending="Failed", reason=one_line(error))


def _unsaid(exitcode: int) -> Outcome:
    how = how_it_ended(exitcode)
    if exitcode >= 0:
        return Outcome(ending="Failed", reason=f"{how} before its work was done")
    return Outcome(ending="Failed" if -exitcode in _CRASHES else "Killed", reason=how)


def teller(outbox: Connection) -> ProgressCallback:
    """What sends progress to whoever asked for the work, as JSON. Nobody hears it after their end."""

    def report(progress: Progress) -> None:
        with suppress(OSError):
            outbox.send_bytes(_Progress.dump_json(progress))

    return report


def pass_on(inbox: Connection, report: ProgressCallback) -> bool:
    """Pass on what has been said; whether there may be more. What is no progress is passed over."""
    while inbox.poll():
        try:
            said = inbox.recv_bytes(_LONGEST)
        except (EOFError, OSError):
            return False
        if said == _DONE:
            return False
        with suppress(pydantic.ValidationError):
            report(_Progress.validate_json(said))
    return True


def _listen(process: BaseProcess, inbox: Connection, watch: Watch) -> None:
    """Until all is said. Asks the process to stop if the watch says so, again and again, for it may not listen yet."""
    asked = 0.0
    while True:
        wait([process.sentinel, inbox], _LOOK)
        ended = not process.is_alive()  # asked first, so that all it said is in the pipe
        if not pass_on(inbox, watch.report) or ended:
            return
        if watch.should_stop() and process.pid is not None and time.monotonic() - asked > 1:
            os.kill(process.pid, signal.SIGINT)
            asked = time.monotonic()
