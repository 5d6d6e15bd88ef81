"""What in a run's record follows from something else in it, made again. Each check yields the faults that it finds.

Whether a number is likely is not asked here.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, count, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import pydantic

from .budget import Budget, BudgetClock
from .curve import CURVE_POINTS, MAX_STEP_TIMES
from .derived import sampling_rate, training_rate
from .errors import DitbenchError
from .faults import Faults, differs, not_negative, positive, shown
from .ledger import read_ledger
from .metric_checks import metrics_of
from .record import Record, SamplingFacts, TrainingFacts, config_of
from .track import Track, first_fault

MICROSECOND = 1e-6  # to which step and batch times are rounded
PLAUSIBLE = 2.0  # by which factor the steps that were kept may miss the time of all of them
MISSING_SEEDS = 10  # of a row that are told
MAX_LABELS = 1_000_000  # of more samples than these no labels are made
_TRACKS = Path(__file__).with_name("tracks")


def published(track: Track) -> dict[str, str]:
    """The hashes, by version, of the track of this name that comes with ditbench; empty if none does."""
    return _ledger().get(track.name, {})


@lru_cache(maxsize=1)
def _ledger() -> dict[str, dict[str, str]]:
    return read_ledger(_TRACKS)


def _identity(record: Record) -> Faults:
    try:
        config = config_of(record)
    except pydantic.ValidationError as error:
        yield f"it describes no run: {first_fault(error)}"
        return
    yield from differs("run_hash", record.run_hash, config.hash, "hash of all that may change the run's result")
    yield from differs("run_id", record.run_id, config.run_id)
    yield from differs("architecture.label", record.architecture.label, config.label)
    for name, value in config.options.items():
        yield from differs(f"architecture.settings.{name}", config.settings.get(name), value, "by its options")


def _track(record: Record) -> Faults:
    track, known = record.track, published(record.track)
    yield from differs("track_hash", record.track_hash, track.hash, "hash of the track as it stands in the record")
    if not known or record.deviations:
        return
    if str(track.version) not in known:
        yield f"track.version is {track.version}, should be {' or '.join(known)}: no other {track.name} was published"
    else:
        why = f"{track.name} v{track.version} as it was published; otherwise its deviations say so"
        yield from differs("track_hash", track.hash, known[str(track.version)], why)


def _ending(record: Record) -> Faults:
    if record.status == "interrupted":
        yield 'status is "interrupted", should be finished, failed or diverged: an interrupted run has no result yet'
    if record.status == "finished":
        yield from differs("reason", record.reason, None, "the run finished")
        return
    for name in ("cost", "training", "sampling", "memory", "data", "raw", "metrics", "floors", "milestones", "files"):
        if getattr(record, name):
            yield f"{name} is there, should not be: the run did not finish"


def _deviations(record: Record) -> Faults:
    """What is not as the track says must be told, where the record knows of it."""
    data, asked = record.data, record.track.data
    if data is None or record.deviations:
        return
    why = "as its track says; otherwise its deviations say so"
    side = asked.resolution // asked.downsampling
    shape = [data.shape[0] if asked.channels is None else asked.channels, side, side]
    yield from differs("data.shape", list(data.shape), shape, why)
    for name, should in (("examples", asked.images), ("classes", asked.classes), ("skipped", 0)):
        if should is not None:
            yield from differs(f"data.{name}", getattr(data, name), should, why)
    if asked.autoencoder is not None and data.autoencoder != asked.autoencoder.rpartition("/")[2]:
        yield from differs("data.autoencoder", data.autoencoder, asked.autoencoder, why)


def _machine(record: Record) -> Faults:
    """Device and environment are of one machine, and so are the peaks of memory."""
    kind = record.device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        yield f"device is {shown(record.device)}, should be cpu, cuda or cuda:N"
    elif record.environment is not None and (record.environment.gpu is not None) != (kind == "cuda"):
        yield f"environment.gpu is {shown(record.environment.gpu)}, should be {'one' if kind == 'cuda' else 'none'}"
    if record.memory is None:
        return
    peak, before = record.memory.training, record.memory.resident_at_start
    if kind == "cpu" and (peak.resident or 0) < before:
        yield f"memory.training.resident is {shown(peak.resident)}, should be at least the {before} before training"
    if kind == "cuda" and not 0 < (peak.allocated or 0) <= (peak.reserved or 0):
        yield f"memory.training.allocated is {shown(peak.allocated)}, should be part of the reserved {peak.reserved}"


def _cost(record: Record) -> Faults:
    if record.cost is None:
        return
    for name in ("trainable_parameters", "train_only_parameters"):
        if getattr(record.cost, name) > record.cost.parameters:
            of = f"of the {record.cost.parameters} parameters"
            yield f"cost.{name} is {getattr(record.cost, name)}, should be part {of}"


def _sampling(record: Record) -> Faults:
    if record.sampling is not None:
        yield from _samples(record, record.sampling, "sampling", "ema")
    if record.raw is not None:
        yield from _samples(record, record.raw.sampling, "raw.sampling", "raw")


def _samples(record: Record, facts: SamplingFacts, field: str, weights: str) -> Faults:
    """As many images as the track asks, in its batches, with its labels; and their throughput."""
    track, size = record.track, record.track.sampler.batch_size
    count = min(track.evaluation.samples, size) if record.left_out else track.evaluation.samples  # one batch, timed
    yield from differs(f"{field}.weights", facts.weights, weights)
    yield from differs(f"{field}.sampler", facts.sampler, track.sampler.name, "its track's")
    yield from differs(f"{field}.steps", facts.steps, track.sampler.steps, "its track's")
    yield from differs(f"the sum of {field}.batch_images", sum(facts.batch_images), count, "its track's samples")
    if any(images != size for images in facts.batch_images[:-1]) or not 0 < facts.batch_images[-1] <= size:
        yield f"{field}.batch_images is {shown(facts.batch_images)}, should be {size} each, and the rest at last"
    yield from positive(f"{field}.batch_seconds", facts.batch_seconds)
    yield from not_negative(field, {"decode_seconds": facts.decode_seconds})
    yield from differs(f"the length of {field}.batch_seconds", len(facts.batch_seconds), len(facts.batch_images))
    if len(facts.batch_seconds) == len(facts.batch_images) and min(facts.batch_seconds) > 0:
        rate = sampling_rate(facts.batch_images, facts.batch_seconds)
        yield from differs(f"{field}.images_per_second", facts.images_per_second, rate, "of the median batch")
    if track.evaluation.labels == "balanced" and record.data and count <= MAX_LABELS:
        labels = _balanced_sha256(count, record.data.classes)
        yield from differs(f"{field}.labels_sha256", facts.labels_sha256, labels, "of balanced labels")


def _balanced_sha256(count: int, classes: int) -> str:
    """Hash of the labels i mod classes, as `sampling.labels_sha256` has it."""
    labels = (i % max(1, classes) for i in range(count))
    return hashlib.sha256(struct.pack(f"<{count}q", *labels)).hexdigest()


def _training(record: Record) -> Faults:
    """Steps, images and FLOPs agree, and so do step times, throughput and the clock."""
    facts = record.training
    if facts is None:
        return
    yield from differs("training.batch_size", facts.batch_size, record.recipe.batch_size, "its recipe's")
    yield from differs("training.images", facts.images, facts.steps * facts.batch_size, "steps x batch_size")
    if record.cost:
        flops = float(record.cost.training_flops_per_image * facts.images)
        yield from differs("training.flops", facts.flops, flops, "6 x MACs x forwards x images")
    yield from positive("training.step_seconds", facts.step_seconds)
    parts = ("loading_seconds", "compile_seconds", "checkpoint_seconds", "evaluation_seconds")
    yield from not_negative("training", {name: getattr(facts, name) for name in parts})
    if facts.loading_seconds > facts.seconds:
        yield f"training.loading_seconds is {facts.loading_seconds}, should be part of the {facts.seconds} of training"
    if min(facts.step_seconds) > 0:
        rate = training_rate(facts.batch_size, facts.step_seconds)
        yield from differs("training.images_per_second", facts.images_per_second, rate, "at the median step")
    yield from _step_times(facts)


def _arithmetic(record: Record) -> Faults:
    """Precision and compiling are what the recipe's become on the device, as `precision.py` has it."""
    facts, recipe, on_gpu = record.training, record.recipe, record.device.startswith("cuda")
    if facts is None:
        return
    if on_gpu:
        precision = "bfloat16" if recipe.precision == "auto" else recipe.precision
    else:
        precision = "bfloat16" if recipe.precision == "bfloat16" else "float32"
    compiled = recipe.compile == "on" or (recipe.compile == "auto" and on_gpu)
    yield from differs("training.precision", facts.precision, precision, "its recipe's on that device")
    yield from differs("training.compiled", facts.compiled, compiled, "its recipe's on that device")


def _step_times(facts: TrainingFacts) -> Faults:
    """As many as `curve.StepTimes` keeps of so many steps, and in all as long as the clock says.

    Where only some were kept, these are part of the time, and stand for about all of it.
    """
    stride = 1
    while -(-facts.steps // stride) > MAX_STEP_TIMES:
        stride *= 2
    count, of = -(-facts.steps // stride), f"of {facts.steps} steps"
    yield from differs("training.step_stride", facts.step_stride, stride, of)
    yield from differs("the length of training.step_seconds", len(facts.step_seconds), count, of)
    kept, rounding = math.fsum(facts.step_seconds), count * MICROSECOND
    likely = kept * stride
    if stride == 1 and abs(facts.seconds - kept) > rounding:
        yield f"training.seconds is {facts.seconds}, should be {kept}, the sum of step_seconds"
    elif not max(kept - rounding, likely / PLAUSIBLE) <= facts.seconds <= likely * PLAUSIBLE + rounding:
        yield f"training.seconds is {facts.seconds}, should be about {likely}, the sum of step_seconds x {stride}"


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
        flops = record.cost.training_flops_per_image if record.cost else 0
        self.setting = (budget, flops or 1, int(record.device.startswith("cuda")))
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
    for i, milestone in enumerate(record.milestones):
        yield _Point(f"milestones.{i}", milestone.steps, milestone.images, milestone.seconds)


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
    if facts.step_stride != 1:
        return
    elapsed = [0.0, *accumulate(facts.step_seconds)]
    for point in points:
        should = elapsed[min(point.steps, len(elapsed) - 1)]
        if abs(point.seconds - should) > (point.steps + 1) * MICROSECOND:
            yield f"{point.field}.seconds is {point.seconds}, should be {should}, the sum of step_seconds so far"


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


def _milestones(record: Record) -> Faults:
    """Measured at the step that reached a share of the budget, in ascending order."""
    facts = record.training
    if facts is None or not record.milestones:
        return
    for i, (one, other) in enumerate(pairwise(record.milestones), start=1):
        if other.at <= one.at:
            yield f"milestones.{i}.at is {other.at}, should be above {one.at}, the one before"
    try:
        budget = Budget.parse(record.budget)
        at = _Clock(record, budget)
    except DitbenchError:
        return  # `_budget` has told
    for i, mark in enumerate(record.milestones):
        if record.cost:
            flops = float(record.cost.training_flops_per_image * mark.images)
            yield from differs(f"milestones.{i}.flops", mark.flops, flops, "6 x MACs x forwards x images")
        now = at(mark.steps, mark.images, mark.seconds)
        before = at(mark.steps - 1, mark.images - facts.batch_size, mark.seconds)
        early = now.progress < mark.at
        late = budget.unit not in ("seconds", "gpu_hours") and before.progress >= mark.at
        if early or late:
            yield f"milestones.{i}.at is {mark.at}, but its step {mark.steps} is not the one that reached that share"


Checks = tuple[Callable[[Record], Faults], ...]
NAMED: Checks = (_identity, _track, _ending, _deviations, _cost)
TRAINED: Checks = (_training, _arithmetic, _budget, _course, _curve, _milestones)
MEASURED: Checks = (_machine, _sampling, metrics_of)


def faults_of(record: Record, checks: Checks = (*NAMED, *TRAINED, *MEASURED)) -> Faults:
    """All that does not hold within a record."""
    for check in checks:
        yield from check(record)


def rows_of(records: Sequence[Record]) -> list[list[Record]]:
    """The runs of each row: alike in all but the seed, on one class of hardware.

    A run that failed without saying where counts in every row that it can be of; what describes no run is in none.
    """
    found: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        try:
            config = config_of(record).model_copy(update={"seed": 0, "hardware": ""})
        except pydantic.ValidationError:
            continue
        found[config.hash][record.hardware].append(record)
    return [row for alike in found.values() for row in _with_strays(alike)]


def _with_strays(rows: dict[str, list[Record]]) -> list[list[Record]]:
    strays = rows.pop("", [])
    return [[*row, *strays] for row in rows.values()] or [strays]


def missing_seeds(row: Sequence[Record]) -> list[int]:
    """The first seeds from 0 on that a row lacks below its highest. Failed and diverged runs have theirs."""
    seeds = {record.seed for record in row}
    missing = (seed for seed in count() if seed not in seeds)
    return list(islice(missing, min(max(seeds) + 1 - len(seeds), MISSING_SEEDS)))
