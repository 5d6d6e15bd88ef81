"""Clean processes, forked from a server that has imported what they need once, and how they and Ctrl-C get on.

Who starts one says what that is, in `preload`: modules by name. There is one server, and the first who asks starts it.
Imports no torch; the server does.
"""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, TypeVar

from ..answers import heard, remember
from ..asking import how_it_ended
from ..errors import DitbenchError
from .inheritance import apart_from_the_program, brief_waits, check_environment, environment
from .progress import Progress, ProgressCallback

ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # what asks a process to end, beside Ctrl-C
_ASK_NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"  # see torch's note on fork poisoning: who asks CUDA can't fork users of it
_WAY_OUT = "`ditbench plugins doctor` looks at each plugin; DITBENCH_PLUGINS=NAME loads no other."
_FIRST = "ditbench.runtime.spared"  # of what the server imports
ASK_AGAIN = 1.0  # seconds until a process that was asked to stop is asked again


class WorkerProcess:
    """A process forked from the server, that says things through a pipe; `ended` starts it and listens."""

    def __init__(
        self, serve: Callable[..., None], task: Any, hear: Callable[[Any], None], *, preload: Sequence[str]
    ) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_FIRST, *preload])
        self._inbox, self._outbox = self._context.Pipe(duplex=False)
        knowing = partial(_knowing, heard(), serve)
        self._process = self._context.Process(target=begin, args=(knowing, self._outbox, task), daemon=False)
        self._hear = hear
        self.task = task
        self.fault: DitbenchError | None = None
        self.interrupted = False  # Ctrl-C came before it had ended

    @property
    def exitcode(self) -> int | None:
        return self._process.exitcode

    @property
    def how_it_ended(self) -> str:
        """The end of a process that did not answer, in words."""
        return how_it_ended(self.exitcode or 0)

    def start(self) -> None:
        """Fork it; the first time, that takes as long as the server's imports."""
        start_server()
        try:
            with apart_from_the_program():
                self._process.start()
        except (ConnectionError, EOFError):  # nobody answers at its socket
            raise DitbenchError(
                "The server that forks ditbench's processes has died while it loaded the libraries; what it printed "
                f"stands above. {_WAY_OUT}"
            ) from None
        self._outbox.close()

    @property
    def signs(self) -> list[Any]:
        """What `multiprocessing.connection.wait` takes: something was said, or the process has ended."""
        return [self._process.sentinel] if self._inbox.closed else [self._process.sentinel, self._inbox]

    def pass_on(self) -> bool:
        """Pass on what it has said meanwhile; whether it has ended."""
        ended = not self._process.is_alive()  # asked first, so that all it said is in the pipe
        for message in self._said():
            if isinstance(message, DitbenchError):
                self.fault = message
            else:
                self._hear(message)
        if ended:
            self._inbox.close()  # what it forked may hold the other end open
        return ended

    def _said(self) -> Iterator[Any]:
        try:
            while not self._inbox.closed and self._inbox.poll():
                yield self._inbox.recv()
        except (EOFError, OSError):  # OSError: it was killed in the middle of a word
            self._inbox.close()

    def stop(self, presses: int) -> None:
        """Ask it to save and stop; from the second press on, kill it."""
        if self._process.pid is not None and self._process.is_alive():
            with suppress(ProcessLookupError):  # it is gone, and the server has not told us yet
                os.kill(self._process.pid, signal.SIGINT if presses == 1 else signal.SIGKILL)

    def leave(self) -> None:
        """Listen no more, and wait for its end."""
        self._inbox.close()
        if self._process.pid is not None:
            self._process.join()


def begin(serve: Callable[..., None], *task: Any) -> None:
    """What a forked process does first: leave out what the server imported wherever it looks for garbage.

    Looking there takes 0.3 s a time, and writes to every page, which it would no longer share with the server. Then it
    hears the signals to which the server is deaf.
    """
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
    serve(*task)


def _knowing(answers: Mapping[Any, Any], serve: Callable[..., None], *task: Any) -> None:
    """Serve as a process that need not ask the plugins again: it is large, and to fork it takes long."""
    remember(answers)
    serve(*task)


class _Bug:
    """What an expendable process says last, if it raises."""


def _telling_of_a_bug(serve: Callable[..., None], outbox: Connection, task: Any) -> None:
    try:
        serve(outbox, task)
    except Exception:
        outbox.send(_Bug())
        raise


class Expendable(WorkerProcess):
    """A process for its answers, with nothing to save: the first Ctrl-C kills it, as otherwise the second would.

    Its progress goes to `hear`.
    """

    def __init__(
        self,
        serve: Callable[..., None],
        task: Any,
        hear: ProgressCallback = lambda progress: None,
        *,
        preload: Sequence[str],
    ) -> None:
        super().__init__(partial(_telling_of_a_bug, serve), task, self._take, preload=preload)
        self._hear_progress = hear
        self.answers: list[Any] = []
        self.bug = False  # it raised what is no user's mistake; it has printed the traceback

    @property
    def death(self) -> Exception:
        """Why there is no answer."""
        if self.bug:
            return RuntimeError("a forked process raised an error, whose traceback stands above")
        memory = "The system may have run out of memory. " if self.exitcode == -signal.SIGKILL else ""
        return DitbenchError(
            f"The process that loads the libraries and checks what was asked has died: {self.how_it_ended}. "
            f"{memory}{_WAY_OUT}"
        )

    def _take(self, said: Any) -> None:
        if isinstance(said, _Bug):
            self.bug = True
        elif isinstance(said, Progress):
            self._hear_progress(said)
        else:
            self.answers.append(said)

    def stop(self, presses: int) -> None:
        super().stop(presses + 1)


AnyWorker = TypeVar("AnyWorker", bound=WorkerProcess)


def ended(workers: Iterable[AnyWorker], at_once: int = 1) -> Iterator[AnyWorker]:
    """Start the workers in turn, never more than `at_once` together, listen to them, and yield each when it has ended.

    The first Ctrl-C asks those at work to save and stop, the second kills them, and no other is started; once they
    have ended and been yielded it is raised. They are asked to stop, too, when a listener or the caller raises.
    """
    busy: list[AnyWorker] = []
    coming = iter(workers)

    def react(presses: int) -> None:
        if not busy:
            raise KeyboardInterrupt
        for worker in busy:
            worker.stop(presses)

    with on_ctrl_c(react) as presses:
        try:
            while _start(coming, busy, at_once, presses):
                for worker in _listen(busy, presses):
                    busy.remove(worker)
                    worker.interrupted = bool(presses)
                    yield worker
        finally:
            for worker in busy:
                worker.stop(1)
            for worker in busy:
                worker.leave()
    if presses:
        raise KeyboardInterrupt


def _start(coming: Iterator[AnyWorker], busy: list[AnyWorker], at_once: int, presses: list[int]) -> bool:
    """Start as many workers as there is room for; whether any is at work."""
    while not presses and len(busy) < at_once and (worker := next(coming, None)) is not None:
        busy.append(worker)
        worker.start()
    return bool(busy)


def _listen(busy: list[AnyWorker], presses: list[int]) -> list[AnyWorker]:
    """Wait for something to happen, pass on what is said, and return those that have ended."""
    if not wait([sign for worker in busy for sign in worker.signs], ASK_AGAIN) and presses:
        for worker in busy:
            worker.stop(len(presses))  # a process that had just been forked ignored the signal
    return [worker for worker in busy if worker.pass_on()]


def stop_on_signals() -> list[int]:
    """Make the signals that ask a process to end append to the list that is returned, instead of ending it."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    for wish in (signal.SIGINT, *ENDINGS):
        signal.signal(wish, note)
    return received


@contextmanager
def on_ctrl_c(react: Callable[[int], None]) -> Iterator[list[int]]:
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


def start_server() -> None:
    """Have the server from which processes are forked; the first time, its imports begin.

    It outlives the signals that end a command, since whoever is forked from it may have something to save.
    """
    check_environment()
    try:
        with ignoring_ctrl_c(), apart_from_the_program(), environment({_ASK_NVML: "1", **brief_waits()}):
            multiprocessing.resource_tracker.ensure_running()  # which would end the server's deafness
            with _deaf():
                multiprocessing.forkserver.ensure_running()
    except OSError as error:  # of the folder for its socket, whose name must not be long either
        raise DitbenchError(f"There is no temporary folder to work in: {error}. Give a short one by TMPDIR.") from None


@contextmanager
def _deaf() -> Iterator[None]:
    """What starts here does not hear the signals of `ENDINGS`; those that come meanwhile are heard afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ignoring_ctrl_c() -> Iterator[None]:
    """What starts here ignores Ctrl-C until it says otherwise: the server must not die while it imports."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def answer_of(
    serve: Callable[..., None],
    task: Any,
    hear: ProgressCallback = lambda progress: None,
    *,
    preload: Sequence[str],
) -> Any:
    """What a forked process answers to one task, its progress going to `hear`; a `DitbenchError` of its is raised."""
    (worker,) = ended([Expendable(serve, task, hear, preload=preload)])
    if worker.fault is not None:
        raise worker.fault
    if not worker.answers:
        raise worker.death
    return worker.answers[0]
