"""Whether the speed that a run's work states can be true, by the clock of the process that hears of its progress.

A network shares a process with the clock that times it. From outside, all is slower: averages of weights, checkpoints
and files are not counted as training. So only what is far off is told.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from ..records.facts import SamplingFacts, TrainingFacts
from ..runtime.progress import Progress, ProgressCallback, Stage

TOLERANCE = 3.0  # times the speed that is seen from outside
SLACK = 10.0  # seconds of a stage that are not looked at
_ENOUGH = 5  # stretches between two words, by whose median one knows
_KEPT = 1000


@dataclass
class _Seen:
    """The words of one stage: (seconds, steps or images)."""

    first: tuple[float, int] | None = None
    last: tuple[float, int] = (0.0, 0)
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def note(self, now: float, step: int) -> None:
        if self.first is None:
            self.first = (now, step)
        elif step > self.last[1] and now > self.last[0]:
            self.rates.append((step - self.last[1]) / (now - self.last[0]))
        self.last = (now, step)

    def fastest_believed(self, stated: float, uncounted: float) -> float | None:
        """Steps per second, if what is `stated` is far more than has been seen; None: it may be true."""
        if len(self.rates) >= _ENOUGH and stated > TOLERANCE * median(self.rates):
            return median(self.rates)
        if self.first is None:
            return None
        seconds, steps = self.last[0] - self.first[0] - uncounted - SLACK, self.last[1] - self.first[1]
        return steps / seconds if seconds > 0 and stated > TOLERANCE * steps / seconds else None


class Stopwatch:
    """Hears a run's progress, and passes it on."""

    def __init__(self, report: ProgressCallback, now: Callable[[], float] = time.monotonic) -> None:
        self._report, self._now = report, now
        self._seen: dict[Stage, _Seen] = {"train": _Seen(), "sample": _Seen()}

    def hear(self, progress: Progress) -> None:
        """Note when it was said."""
        if progress.stage in self._seen:
            self._seen[progress.stage].note(self._now(), progress.step)
        self._report(progress)

    def doubt(self, stated: TrainingFacts) -> str:
        """Why a training's speed can't be true; empty if it may be."""
        uncounted = stated.checkpoint_seconds + stated.compile_seconds + stated.evaluation_seconds
        per_second = stated.images_per_second / stated.batch_size
        seen = self._seen["train"].fastest_believed(per_second, uncounted + stated.paused_seconds)
        return "" if seen is None else _told("training", stated.images_per_second, seen * stated.batch_size)

    def doubt_sampling(self, stated: SamplingFacts) -> str:
        """The same of the samples', with their decoding."""
        seconds, images = sum(stated.batch_seconds) + stated.decode_seconds, sum(stated.batch_images)
        if not seconds > 0:
            return _told("sampling", float("inf"), 0.0)
        seen = self._seen["sample"].fastest_believed(images / seconds, 0.0)
        return "" if seen is None else _told("sampling", images / seconds, seen)


def _told(what: str, stated: float, seen: float) -> str:
    return (
        f"its process states {stated:,.0f} images/s of {what}, and from outside no more than {seen:,.0f} were seen; "
        "a network that changes the clock can't be timed"
    )
