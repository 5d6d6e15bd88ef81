"""How a run and whoever started it talk: the run reports progress, and asks whether it should stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["data", "reference", "train", "sample", "measure"]


class Diverged(Exception):
    """The loss, or a sample, became infinite or NaN."""

    def __init__(self, text: str, step: int | None = None) -> None:
        """step: of training, from 0, if it was a loss."""
        super().__init__(text)
        self.step = step


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is saved."""


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes."""

    __pydantic_config__ = {"allow_inf_nan": False}  # of its JSON, which a plugin's process may write

    stage: Stage
    done: float  # share of the stage, in [0, 1]
    step: int = 0
    images_per_second: float | None = None
    loss: float | None = None
    seconds_left: float | None = None
    remark: str = ""  # what a person should know, in one line


ProgressCallback = Callable[[Progress], None]
CountCallback = Callable[[int, int], None]  # done, of how many (0: not known)


@dataclass(frozen=True)
class Watch:
    """The run's end of the line."""

    report: ProgressCallback = lambda progress: None
    should_stop: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """Raise `Interrupted` if the run should stop."""
        if self.should_stop():
            raise Interrupted("stopped on request")
