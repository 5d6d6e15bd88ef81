"""A run's training, made again from what its record has of it: steps, times, the budget, the curve, the way there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from statistics import fmean
from typing import NamedTuple

from ...errors import DitbenchError
from ...tracks.budget import Budget, BudgetClock, FlopsRule
from ..curve import CURVE_POINTS, MAX_STEP_TIMES
from ..denoising import ErrorPoint
from ..derived import training_rate
from ..facts import SHORTEST_PAUSE, Milestone, TrainingFacts
from ..record import Record
from .faults import Faults, differs, not_negative, positive, shown

MICROSECOND = 1e-6  # to which step times are rounded
ENOUGH = MAX_STEP_TIMES // 2  # step times that stand for all: a run that is too long to keep each keeps more
PLAUSIBLE = 1.25  # by which factor they may miss the time of all steps
USUAL = 2.0  # by which factor the median step may miss the mean one: hiccups are long, and few

_COUNTED: dict[FlopsRule, str] = {1: "6 x MACs x forwards x images", 2: "2 x training MACs x images"}


def _training(record: Record) -> Faults:
    """Steps, images and FLOPs agree, and so do step times, throughput and the clock."""
    facts = record.training
    if facts is None:
        return
    yield from differs("training.batch_size", facts.batch_size, record.recipe.batch_size, "its recipe's")
    yield from differs("training.images", facts.images, facts.steps * facts.batch_size, "steps x batch_size")
    if record.cost:
        flops = float(record.cost.training_flops(record.flops_rule) * facts.images)
        yield from differs("training.flops", facts.flops, flops, _COUNTED[record.flops_rule])
    yield from positive("training.step_seconds", facts.step_seconds)
    parts = ("loading_seconds", "compile_seconds", "checkpoint_seconds", "evaluation_seconds")
    yield from not_negative("training", {name: getattr(facts, name) for name in parts})
    if not 0 <= facts.warm_compile_seconds <= facts.compile_seconds:
        says, whole = facts.warm_compile_seconds, facts.compile_seconds
        yield f"training.warm_compile_seconds is {says}, should be part of the {whole} of compiling"
    yield from _paused(facts)
    if not facts.resumed:
        why = "the run was never taken up again"
        yield from differs("training.damaged_checkpoints", facts.damaged_checkpoints, 0, why)
    if facts.loading_seconds > facts.seconds:
        yield f"training.loading_seconds is {facts.loading_seconds}, should be part of the {facts.seconds} of training"
    if min(facts.step_seconds) > 0:
        rate = training_rate(facts.batch_size, facts.step_seconds)
        yield from differs("training.images_per_second", facts.images_per_second, rate, "at the median step")
    yield from _step_times(facts)


def _paused(facts: TrainingFacts) -> Faults:
    """Pauses are as many as their time says."""
    if facts.pauses:
        least, says = facts.pauses * SHORTEST_PAUSE, facts.paused_seconds
        if says < least:
            yield f"training.paused_seconds is {says}, should be at least {least}: {facts.pauses} pauses"
    else:
        yield from differs("training.paused_seconds", facts.paused_seconds, 0.0, "there was no pause")


def _arithmetic(record: Record) -> Faults:
    """Precision and compiling are what the recipe's become on the device, as `precision.py` has it."""
    facts, recipe, on_gpu = record.training, record.recipe, record.device.startswith("cuda")
    if facts is None:
        return
    precision = precision_on(record.device, recipe.precision)
    compiled = recipe.compile in ("on", "blocks") or (recipe.compile == "auto" and on_gpu)
    yield from differs("training.precision", facts.precision, precision, "its recipe's on that device")
    yield from differs("training.compiled", facts.compiled, compiled, "its recipe's on that device")


def precision_on(device: str, asked: str) -> str:
    """What a device does when asked for a precision."""
    if device.startswith("cuda"):
        return "bfloat16" if asked == "auto" else asked
    return "bfloat16" if asked == "bfloat16" else "float32"


def _step_times(facts: TrainingFacts) -> Faults:
    """As many as `curve.StepTimes` keeps of so many steps, and in all as long as the clock says."""
    stride = _stride(facts.steps)
    count, of = -(-facts.steps // stride), f"of {facts.steps} steps"
    yield from differs("training.step_stride", facts.step_stride, stride, of)
    yield from differs("the length of training.step_seconds", len(facts.step_seconds), count, of)
    kept = math.fsum(facts.step_seconds)
    if stride == 1 and abs(facts.seconds - kept) > count * MICROSECOND:
        yield f"training.seconds is {facts.seconds}, should be {kept}, the sum of step_seconds"
    if stride > 1:
        yield from _some_of_all(facts)
    if len(facts.step_seconds) >= ENOUGH:
        yield from _usual_step(facts)


def _stride(steps: int) -> int:
    """Of how many steps one's time is kept."""
    stride = 1
    while -(-steps // stride) > MAX_STEP_TIMES:
        stride *= 2
    return stride


def _some_of_all(facts: TrainingFacts) -> Faults:
    """The steps whose times were kept are part of the time, and stand for about all of it.

    The first step is always kept, and like no other: it warms up. It stands for itself.
    """
    first, *others = facts.step_seconds
    kept = math.fsum(facts.step_seconds) - len(facts.step_seconds) * MICROSECOND
    likely = first + (facts.steps - 1) * (fmean(others) if others else 0.0)
    if not max(kept, likely / PLAUSIBLE) <= facts.seconds <= likely * PLAUSIBLE:
        yield f"training.seconds is {facts.seconds}, should be about {likely:.6g}, by every {facts.step_stride}th step"


def _usual_step(facts: TrainingFacts) -> Faults:
    """The throughput at the median step is not far from that of all steps, but for waiting for data."""
    working = facts.seconds - max(0.0, facts.loading_seconds)
    if min(facts.seconds, working) <= 0:
        return
    least, most = facts.images / facts.seconds / USUAL, facts.images / working * USUAL
    if not least <= facts.images_per_second <= most:
        between = f"from {least:.6g} to {most:.6g}, by all {facts.steps} steps"
        yield f"training.images_per_second is {facts.images_per_second}, should be {between}"


def _budget(record: Record) -> Faults:
    """The budget was spent, and not before the last step."""
    facts = record.training
    try:
        budget = Budget.parse(record.budget)
        at = _Clock(record, budget)
    except DitbenchError as error:
        yield f"budget is {shown(record.budget)}: {error}"
        return
    yield from differs("budget", record.budget, str(budget), "as ditbench spells it")
    if facts is None:
        return
    spent, before = at(facts.steps, facts.images, facts.seconds), at(*_before_the_last_step(facts))
    if not spent.done:
        yield f"training.{budget.unit} is {spent.spent}, should be at least {budget.amount}: the budget is {budget}"
    if before.done:
        yield f"training.{budget.unit} is {spent.spent}, which is more than a step beyond the budget of {budget}"


class _Clock:
    """The budget's clock at any moment of a run."""

    def __init__(self, record: Record, budget: Budget) -> None:
        flops = record.cost.training_flops(record.flops_rule) if record.cost else 0
        processes = record.environment.processes if record.environment else 1
        self.setting = (budget, flops or 1, processes if record.device.startswith("cuda") else 0)
        self(0, 0, 0.0)  # `BadValue` if the budget does not suit the device

    def __call__(self, steps: int, images: int, seconds: float) -> BudgetClock:
        return BudgetClock(*self.setting, steps, images, seconds)


def _before_the_last_step(facts: TrainingFacts) -> tuple[int, int, float]:
    """What had been spent by then, at least. Where its time was not kept, the curve's last interval holds it."""
    last = facts.step_seconds[-1]
    if facts.step_stride > 1 and len(facts.curve) > 1:
        last = facts.seconds - facts.curve[-2].seconds
    return facts.steps - 1, facts.images - facts.batch_size, facts.seconds - last - MICROSECOND


class _Point(NamedTuple):
    """A moment of training that a record tells."""

    field: str
    steps: int
    images: int
    seconds: float


def _points(record: Record) -> Iterator[_Point]:
    assert record.training is not None
    for i, point in enumerate(record.training.curve):
        yield _Point(f"training.curve.{i}", point.step, point.images, point.seconds)
    for field, mark in _marks(record):
        yield _Point(field, mark.steps, mark.images, mark.seconds)


def _course(record: Record) -> Faults:
    """Every moment that is told lies on the way, its images and seconds are those of its steps."""
    facts = record.training
    if facts is None:
        return
    points = sorted(_points(record), key=lambda point: point.steps)
    for point in points:
        yield from differs(f"{point.field}.images", point.images, point.steps * facts.batch_size, "steps x batch_size")
        if not 1 <= point.steps <= facts.steps:
            yield f"{point.field} is at step {point.steps}, should be one of the {facts.steps}"
    for earlier, later in pairwise(points):
        if later.seconds < earlier.seconds - MICROSECOND:
            yield f"{later.field}.seconds is {later.seconds}, should be no less than {earlier.seconds}, earlier"
    yield from (_so_far if facts.step_stride == 1 else _in_between)(points, facts)


def _so_far(points: Sequence[_Point], facts: TrainingFacts) -> Faults:
    """Where every step's time was kept, a moment's is their sum."""
    elapsed = [0.0, *accumulate(facts.step_seconds)]
    for point in points:
        should = elapsed[min(point.steps, len(elapsed) - 1)]
        if abs(point.seconds - should) > (point.steps + 1) * MICROSECOND:
            yield f"{point.field}.seconds is {point.seconds}, should be {should}, the sum of step_seconds so far"


def _in_between(points: Sequence[_Point], facts: TrainingFacts) -> Faults:
    """From one moment to the next it takes no less than the steps in between whose times were kept."""
    stride, elapsed = _stride(facts.steps), [0.0, *accumulate(facts.step_seconds)]
    for earlier, later in pairwise([_Point("the start", 0, 0, 0.0), *points]):
        first, end = (min(-(-point.steps // stride), len(facts.step_seconds)) for point in (earlier, later))
        kept, rounding = elapsed[end] - elapsed[first], (end - first + 2) * MICROSECOND
        if later.seconds - earlier.seconds < kept - rounding:
            least = f"{kept:.6g} or more after {earlier.field}, by the step_seconds in between"
            yield f"{later.field}.seconds is {later.seconds}, should be {least}"


def _curve(record: Record) -> Faults:
    """The loss curve ascends and ends where training did."""
    facts = record.training
    if facts is None:
        return
    if not 1 <= len(facts.curve) <= CURVE_POINTS:
        yield f"the length of training.curve is {len(facts.curve)}, should be from 1 to {CURVE_POINTS}"
    for i, (one, other) in enumerate(pairwise(facts.curve), start=1):
        if other.step <= one.step:
            yield f"training.curve.{i}.step is {other.step}, should be above {one.step}, the one before"
    if facts.curve:
        end, last = facts.curve[-1], f"training.curve.{len(facts.curve) - 1}"
        yield from differs(f"{last}.step", end.step, facts.steps, "the last one")
        yield from differs(f"{last}.seconds", end.seconds, round(facts.seconds, 6), "at the end")
        yield from differs("training.final_loss", facts.final_loss, end.loss, "of the end of the curve")


def _marks(record: Record) -> list[tuple[str, Milestone | ErrorPoint]]:
    """All that was measured at a share of the budget, by field."""
    points = record.denoising.points if record.denoising else []
    found: list[tuple[str, Milestone | ErrorPoint]] = []
    found += [(f"milestones.{i}", mark) for i, mark in enumerate(record.milestones)]
    return found + [(f"denoising.points.{i}", mark) for i, mark in enumerate(points)]


def _milestones(record: Record) -> Faults:
    """Measured at the step that reached a share of the budget, in ascending order."""
    facts = record.training
    if facts is None or not (marks := _marks(record)):
        return
    for i, (one, other) in enumerate(pairwise(record.milestones), start=1):
        if other.at <= one.at:
            yield f"milestones.{i}.at is {other.at}, should be above {one.at}, the one before"
    try:
        budget = Budget.parse(record.budget)
        at = _Clock(record, budget)
    except DitbenchError:
        return  # `_budget` has told
    for field, mark in marks:
        if record.cost:
            flops = float(record.cost.training_flops(record.flops_rule) * mark.images)
            yield from differs(f"{field}.flops", mark.flops, flops, _COUNTED[record.flops_rule])
        now = at(mark.steps, mark.images, mark.seconds)
        before = at(mark.steps - 1, mark.images - facts.batch_size, mark.seconds)
        early = now.progress < mark.at
        late = not budget.is_of_time and before.progress >= mark.at
        if early or late:
            yield f"{field}.at is {mark.at}, but its step {mark.steps} is not the one that reached that share"


def training_of(record: Record) -> Faults:
    """All that a run trained."""
    for check in (_training, _arithmetic, _budget, _course, _curve, _milestones):
        yield from check(record)
