"""The clock of training and sampling: it stands still while the whole process is stopped, and counts these pauses.

SIGSTOP, `scontrol suspend` and a frozen container stop a process with all its threads, and no budget is charged for
that. A thread looks at the time now and then. It is late by seconds only if nothing of the process ran: torch lets
other threads run during its work, however long a step takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..records.facts import SHORTEST_PAUSE

EVERY = 0.1  # seconds between two looks
WORKED = 0.5  # of such a gap, spent on processors: the process ran, and merely let no other thread do so


@dataclass(frozen=True)
class Pauses:
    """How often the process was stopped, or its machine suspended, and for how long."""

    count: int = 0
    seconds: float = 0.0

    def __add__(self, other: Pauses) -> Pauses:
        return Pauses(self.count + other.count, self.seconds + other.seconds)

    def __sub__(self, other: Pauses) -> Pauses:
        return Pauses(self.count - other.count, self.seconds - other.seconds)


def _asleep() -> float:
    """Seconds that the machine was suspended since it started, where that is known (Linux): no other clock has them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot is None else time.clock_gettime(boot) - time.monotonic()


class RunningClock:
    """A timer for differences, in seconds. It knows of pauses while `watched`; otherwise it is the plain one."""

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        worked: Callable[[], float] = time.process_time,
        asleep: Callable[[], float] = _asleep,
    ) -> None:
        self._now, self._worked, self._asleep = now, worked, asleep
        self._lock, self._watchers = threading.Lock(), 0
        self._seen = (0.0, 0.0, 0.0)  # the three of the last look
        self._off = 0.0  # of pauses, all in all
        self._pauses = Pauses()

    def __call__(self) -> float:
        """The time, without pauses up to now."""
        with self._lock:
            return self._look() - self._off

    @property
    def pauses(self) -> Pauses:
        """All so far."""
        with self._lock:
            self._look()
            return self._pauses

    @contextmanager
    def watched(self) -> Iterator[RunningClock]:
        """Look for pauses meanwhile."""
        over = threading.Event()
        with self._lock:
            self._seen = self._read()
            self._watchers += 1
        thread = threading.Thread(target=self._keep_looking, args=(over,), name="ditbench-clock", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            with self._lock:
                self._watchers -= 1

    def _keep_looking(self, over: threading.Event) -> None:
        while not over.wait(EVERY):
            self()

    def _read(self) -> tuple[float, float, float]:
        return self._now(), self._worked(), self._asleep()

    def _look(self) -> float:
        """The plain time. Whoever looks first after a pause finds it, so that the step that it cut through is right."""
        if not self._watchers:
            return self._now()
        before, self._seen = self._seen, self._read()
        gap, worked, slept = (new - old for new, old in zip(self._seen, before, strict=True))
        stopped = gap - EVERY  # it ran until the next look was due, at most
        if stopped >= SHORTEST_PAUSE and worked < WORKED * gap:
            self._off += stopped
            self._pauses += Pauses(1, stopped)
        if slept >= SHORTEST_PAUSE:  # this clock stood still by itself
            self._pauses += Pauses(1, slept)
        return self._seen[0]


RUNNING = RunningClock()  # this process's
