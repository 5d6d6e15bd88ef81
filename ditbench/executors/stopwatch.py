"""Whether the time that a run's work states can be true, by the clock of the process that hears of its progress.

A network shares a process with the clock that times it. Seen from outside, all takes longer: averages of weights and
files are not counted as training, and a busy machine delays everything. So only what is far off is told, and of a stage
that is over in `SLACK` seconds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..records.facts import SamplingFacts, TrainingFacts
from ..runtime.progress import Progress, ProgressCallback, Stage

TOLERANCE = 3.0  # times what is stated
SLACK = 10.0  # seconds of a stage, on top


@dataclass(frozen=True)
class _Seen:
    """The first and the last word of one stage: when, and after how many steps or images."""

    began: float
    first: int
    ended: float
    last: int

    def is_far_more(self, each: float, uncounted: float) -> bool:
        """Whether far more time has passed than `each` of the steps or images is said to have taken."""
        stated = (self.last - self.first) * each + uncounted
        return self.ended - self.began > TOLERANCE * stated + SLACK


class Stopwatch:
    """Hears a run's progress, and passes it on."""

    def __init__(self, report: ProgressCallback, now: Callable[[], float] = time.monotonic) -> None:
        self._report, self._now = report, now
        self._seen: dict[Stage, _Seen] = {}

    def hear(self, progress: Progress) -> None:
        """Note when it was said."""
        now, stage = self._now(), progress.stage
        seen = self._seen.get(stage) or _Seen(now, progress.step, now, progress.step)
        self._seen[stage] = replace(seen, ended=now, last=progress.step)
        self._report(progress)

    def doubt(self, stated: TrainingFacts) -> str:
        """Why a training's time can't be true; empty if it may be."""
        apart = stated.checkpoint_seconds + stated.compile_seconds + stated.evaluation_seconds + stated.paused_seconds
        return self._doubt("train", "training", stated.seconds / max(1, stated.steps), apart)

    def doubt_sampling(self, stated: SamplingFacts) -> str:
        """The same of the first samples that were drawn, with their decoding."""
        seconds = sum(stated.batch_seconds) + stated.decode_seconds
        return self._doubt("sample", "sampling", seconds / sum(stated.batch_images), 0.0)

    def _doubt(self, stage: Stage, what: str, each: float, apart: float) -> str:
        seen = self._seen.get(stage)
        if seen is None or not seen.is_far_more(each, apart):
            return ""
        stated = (seen.last - seen.first) * each + apart
        return (
            f"its process states {stated:.1f} s of {what}, for which {seen.ended - seen.began:.1f} s have passed; a "
            "network that changes the clock can't be timed"
        )
