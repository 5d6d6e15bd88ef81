"""When all runs of a command will be done, from how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..runtime.progress import Progress, Stage
from .output import count

_BEFORE: dict[Stage, tuple[float, float]] = {  # of a run: the share that is done when a stage begins, and its own
    "data": (0.0, 0.0),
    "reference": (0.0, 0.0),
    "train": (0.0, 0.8),
    "sample": (0.8, 0.1),
    "measure": (0.9, 0.1),
}
_SOON = 0.03  # of the whole: nothing is said before so much is done


class TimeLeft:
    """A rough answer: runs count alike, and so does every second until now."""

    def __init__(self, runs: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self._done = dict.fromkeys(runs, 0.0)

    def heard(self, run: str, progress: Progress) -> None:
        """A run says how far it is. What it resumes was done before, but counts as if it had been done now."""
        before, own = _BEFORE[progress.stage]
        self._done[run] = max(self._done.get(run, 0.0), before + own * progress.done)

    def ended(self, run: str) -> None:
        """It is done, however it ended."""
        self._done[run] = 1.0

    def told(self) -> str:
        """E.g. ``2 runs left, about 3:10``; nothing for a single run, whose bar tells, and where it is too early."""
        left = sum(done < 1 for done in self._done.values())
        share = sum(self._done.values()) / max(1, len(self._done))
        if not left or len(self._done) == 1 or share < _SOON:
            return ""
        minutes, seconds = divmod(round((self._clock() - self._start) * (1 - share) / share), 60)
        return f"{count(left, 'run')} left, about {minutes}:{seconds:02d}"
