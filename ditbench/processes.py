"""Clean processes, forked from a server that has imported torch once, and how they and Ctrl-C get on.

Imports no torch; the server does.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .errors import DitbenchError
from .watch import Progress

ASK_AGAIN = 1.0  # seconds until a process that was asked to stop is asked again
PRELOAD = ("ditbench.bench",)  # pulls in torch, diffusers, torchmetrics, scikit-learn: about 15 s, once


class Worker:
    """A process forked from the server that answers through a pipe. `listen` starts it."""

    def __init__(self, serve: Callable[..., None], task: Any) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOAD))
        self._inbox, self._outbox = self._context.Pipe(duplex=False)
        self._process = self._context.Process(target=serve, args=(self._outbox, task), daemon=False)
        self.fault: DitbenchError | None = None

    @property
    def exitcode(self) -> int | None:
        return self._process.exitcode

    @property
    def how_it_ended(self) -> str:
        """The end of a process that did not answer, in words."""
        code = self.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with exit code {code}"

    def listen(self, hear: Callable[[Any], None]) -> bool:
        """Start the process and pass on what it says until it ends; True if Ctrl-C came meanwhile.

        The first Ctrl-C asks the process to save and stop, the second kills it. It is asked to stop, too,
        when `hear` raises.
        """
        with on_ctrl_c(self._stop) as presses:
            self._start()
            try:
                while True:
                    if self._inbox.poll(ASK_AGAIN):
                        self._take(self._inbox.recv(), hear)
                    elif not self._process.is_alive() and not self._inbox.poll():
                        break  # what it forked may hold the pipe open
                    elif presses:  # a process that had just been forked ignored the signal
                        self._stop(len(presses))
            except EOFError:
                pass
            finally:
                self._inbox.close()
                self._process.join()
        return bool(presses)

    def _start(self) -> None:
        with ignoring_ctrl_c(), _cuda_fit_for_forks():
            multiprocessing.forkserver.ensure_running()
        self._process.start()
        self._outbox.close()

    def _take(self, message: Any, hear: Callable[[Any], None]) -> None:
        if isinstance(message, DitbenchError):
            self.fault = message
        else:
            hear(message)

    def _stop(self, presses: int) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGINT if presses == 1 else signal.SIGKILL)


class Expendable(Worker):
    """A process without anything to save: the first Ctrl-C kills it, as otherwise the second would."""

    def _stop(self, presses: int) -> None:
        super()._stop(presses + 1)


def end_with_parent() -> None:
    """In a forked process without anything to save: end at once when whoever started it has ended."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


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


@contextmanager
def _cuda_fit_for_forks() -> Iterator[None]:
    """A server that starts here asks NVML whether there is a GPU: what asks CUDA can't fork processes that use it.

    diffusers asks, while it is imported. See torch's note on fork poisoning, whose variable this is.
    """
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def answer_of(serve: Callable[..., None], task: Any, hear: Callable[[Progress], None] = lambda progress: None) -> Any:
    """What a forked process answers to one task, its progress going to `hear`; a `DitbenchError` of its is raised."""
    answers: list[Any] = []

    def take(message: Any) -> None:
        if isinstance(message, Progress):
            hear(message)
        else:
            answers.append(message)

    worker = Expendable(serve, task)
    if worker.listen(take):
        raise KeyboardInterrupt
    if worker.fault is not None:
        raise worker.fault
    if not answers:
        raise RuntimeError(f"a forked process gave no answer: {worker.how_it_ended}")
    return answers[0]
