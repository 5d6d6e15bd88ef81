"""Whether the time that a run's work states can be true, by the clock of the process that hears of its progress.

A network shares a process with the clock that times it. Seen from outside, all takes longer: averages of weights and
files are not counted as training, and a busy machine delays everything. So only what is far off is told, and of a stage
that is over in `SLACK` seconds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..records.facts import SamplingFacts, TrainingFacts
from ..runtime.progress import Progress, ProgressCallback

TOLERANCE = 3.0  # times what is stated
SLACK = 10.0  # seconds of a stage, on top


@dataclass(frozen=True)
class _Seen:
    """The first and the last word of training, or of one set of samples: when, and after how many steps or images."""

    began: float
    first: int
    ended: float
    last: int

    def until(self, later: _Seen) -> _Seen:
        return replace(self, ended=later.ended, last=later.last)

    def is_far_more(self, each: float, uncounted: float) -> bool:
        """Whether far more time has passed than `each` of the steps or images is said to have taken."""
        stated = (self.last - self.first) * each + uncounted
        return self.ended - self.began > TOLERANCE * stated + SLACK


class Stopwatch:
    """Hears a run's progress, and passes it on."""

    def __init__(self, report: ProgressCallback, now: Callable[[], float]) -> None:
        self._report, self._now = report, now
        self._trained: _Seen | None = None
        self._drawn: list[_Seen] = []  # of each set of samples since training was last heard of

    def hear(self, progress: Progress) -> None:
        """Note when it was said."""
        now = _Seen(at := self._now(), progress.step, at, progress.step)
        if progress.stage == "train":
            self._trained, self._drawn = (self._trained or now).until(now), []
        elif progress.stage == "sample" and self._drawn and progress.step >= self._drawn[-1].last:
            self._drawn[-1] = self._drawn[-1].until(now)
        elif progress.stage == "sample":
            self._drawn.append(now)
        self._report(progress)

    def doubt(self, stated: TrainingFacts) -> str:
        """Why a training's time can't be true; empty if it may be."""
        apart = stated.checkpoint_seconds + stated.compile_seconds + stated.evaluation_seconds + stated.paused_seconds
        return _doubt(self._trained, "training", stated.seconds / max(1, stated.steps), apart)

    def doubt_sampling(self, stated: SamplingFacts) -> str:
        """The same of the first set of samples that was drawn after training, with their decoding."""
        seconds = sum(stated.batch_seconds) + stated.decode_seconds
        return _doubt(next(iter(self._drawn), None), "sampling", seconds / sum(stated.batch_images), 0.0)


def _doubt(seen: _Seen | None, what: str, each: float, apart: float) -> str:
    if seen is None or not seen.is_far_more(each, apart):
        return ""
    stated = (seen.last - seen.first) * each + apart
    return (
        f"its process states {stated:.1f} s of {what}, for which {seen.ended - seen.began:.1f} s have passed; a "
        "network that changes the clock can't be timed"
    )
