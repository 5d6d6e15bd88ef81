"""The loop around a trainer's steps: checkpoints now and then, milestones, the curve's file, and a stop on request."""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from ..records.curve import CURVE_FILE
from ..runtime.progress import Interrupted, Progress, Watch
from ..storage.files import append_line, writing
from .checkpoint import Checkpoints
from .trainer import Trainer

_logger = logging.getLogger(__name__)
Evaluate = Callable[[float, bool], None]
REPORT_SECONDS = 0.5  # of training time between two reports, at least
SAVING_SECONDS = 0.1  # a checkpoint may take that long; where it takes k times as long, it is k times as rare


class _Keeper:
    """Saves a trainer's state now and then."""

    def __init__(self, trainer: Trainer, checkpoints: Checkpoints, seconds: float) -> None:
        self._trainer, self._checkpoints = trainer, checkpoints
        self._seconds = self._interval = seconds
        self._kept_at = 0.0

    def take_up(self) -> Sequence[str]:
        """Put the trainer where the checkpoint left off, if there is one; what is to be told of that."""
        saved = self._checkpoints.latest()
        if saved is not None:
            self._trainer.restore(saved)
        self._kept_at = self._trainer.clock.seconds
        return saved.remarks if saved else ()

    @property
    def due(self) -> bool:
        clock = self._trainer.clock
        return clock.done or clock.seconds - self._kept_at >= self._interval

    def keep(self, wait: bool) -> None:
        """Save; without `wait`, while training goes on. On a CPU it is waited for: the cores are training's."""
        one, began = self._trainer, self._trainer.timer()
        self._checkpoints.save(one.tensors(), one.numbers())
        self._checkpoints.settle(wait or one.device.type == "cpu")
        took = one.world.largest(one.timer() - began)
        one.checkpoint_seconds += took
        self._interval = self._seconds * max(1.0, took / SAVING_SECONDS)
        self._kept_at = one.clock.seconds


class _Course:
    """The milestones ahead, shares of the budget at which training is measured."""

    def __init__(self, trainer: Trainer, milestones: Iterable[float], evaluate: Evaluate, small: bool = False) -> None:
        self._trainer, self._ahead, self._evaluate = trainer, deque(sorted(milestones)), evaluate
        self._small = small

    @property
    def reached(self) -> bool:
        return bool(self._ahead) and self._trainer.clock.progress >= self._ahead[0]

    def measure(self) -> None:
        """Evaluate at what has been reached, and say whether it was just now."""
        while self.reached:
            at = self._ahead.popleft()
            self._trainer.evaluate(partial(self._evaluate, at, self._trainer.before < at), self._small)


def train(
    trainer: Trainer,
    directory: Path,
    run_hash: str,
    checkpoint_seconds: float,
    watch: Watch,
    milestones: Iterable[float] = (),
    evaluate: Evaluate = lambda share, now: None,
    points: Iterable[float] = (),
    look: Evaluate = lambda share, now: None,
    snapshots: Iterable[float] = (),
    shoot: Evaluate = lambda share, now: None,
) -> None:
    """Train to the end of the budget, from the directory's checkpoint if there is one.

    Checkpoints are `checkpoint_seconds` of training apart, more if one takes long. `evaluate(share, now)` is called,
    with the state saved, when a milestone, a share of the budget, is first reached. A resumed run calls it at once for
    those behind it; `now` tells whether the last step was the one that reached it. So is `look` at points, for which
    nothing is saved, and `shoot` at snapshots, before a state is saved that is past them. Raises `Diverged` or, with
    the state saved, `Interrupted`.
    """
    checkpoints = Checkpoints(directory, run_hash, trainer.world, pinned=trainer.device.type == "cuda")
    clock, keeper = trainer.clock, _Keeper(trainer, checkpoints, checkpoint_seconds)
    for remark in keeper.take_up():
        _logger.warning("%s", remark)
        watch.report(Progress("train", clock.progress, clock.steps, remark=remark))
    course, view = _Course(trainer, milestones, evaluate), _Course(trainer, points, look, small=True)
    camera = _Course(trainer, snapshots, shoot, small=True)
    curve = directory / CURVE_FILE if trainer.world.main else Path(os.devnull)
    reported_at = clock.seconds
    with writing(curve):
        curve.write_text("".join(json.dumps(point) + "\n" for point in trainer.curve.points), encoding="utf-8")
    watch.report(Progress("train", clock.progress, clock.steps))  # all is there, and the first step begins
    camera.measure()
    course.measure()
    view.measure()
    while not clock.done:
        if trainer.stops(watch.should_stop()):
            keeper.keep(wait=True)
            raise Interrupted("stopped on request")
        loss = trainer.step()
        camera.measure()
        if trainer.curve.is_due(clock):
            trainer.settle()
            trainer.curve.close(clock)
            append_line(curve, json.dumps(trainer.curve.points[-1]))
        if clock.seconds - reported_at >= REPORT_SECONDS or clock.done:
            watch.report(_progress(trainer, loss))
            reported_at = clock.seconds
        if course.reached or keeper.due:
            keeper.keep(wait=course.reached or clock.done)
        checkpoints.settle(wait=False)
        course.measure()
        view.measure()
    camera.measure()  # where a step's time, and with it the end of the budget, was known late


def _progress(trainer: Trainer, loss: float) -> Progress:
    clock = trainer.clock
    rate = trainer.recipe.batch_size / median(trainer.times.seconds[-10:])
    return Progress("train", clock.progress, clock.steps, rate, loss, clock.seconds_left)
