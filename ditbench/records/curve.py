"""What is kept of training's course: the curve of its loss, and raw step times."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..tracks.budget import BudgetClock

CURVE_FILE = "curve.jsonl"
CURVE_POINTS = 100  # intervals of the loss curve over a budget
MAX_STEP_TIMES = 1024  # raw step times kept; longer runs keep every 2nd, 4th, ...


@dataclass
class StepTimes:
    """Raw seconds of every `stride`-th step; the stride doubles so that the list stays short."""

    stride: int = 1
    seconds: list[float] = field(default_factory=list)

    def add(self, step: int, seconds: float) -> None:
        if step % self.stride:
            return
        self.seconds.append(seconds)
        if len(self.seconds) > MAX_STEP_TIMES:
            self.seconds = self.seconds[::2]
            self.stride *= 2


@dataclass
class Curve:
    """The mean loss of each interval of the budget."""

    points: list[dict[str, int | float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # since the last point
    images: int = 0  # at the last point
    seconds: float = 0.0

    def is_due(self, clock: BudgetClock) -> bool:
        """Whether an interval has ended."""
        return clock.done or clock.progress * CURVE_POINTS >= len(self.points) + 1

    def close(self, clock: BudgetClock) -> None:
        """End an interval, of whose steps all losses are there."""
        self.points.append(
            {
                "step": clock.steps,
                "images": clock.images,
                "seconds": round(clock.seconds, 6),
                "loss": math.fsum(self.losses) / len(self.losses),
                "images_per_second": (clock.images - self.images) / (clock.seconds - self.seconds),
            }
        )
        self.losses, self.images, self.seconds = [], clock.images, clock.seconds

    @property
    def last_loss(self) -> float | None:
        """Of the last whole interval."""
        return self.points[-1]["loss"] if self.points else None
