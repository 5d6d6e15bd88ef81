"""What physics says of a record: dates, machine, memory and times that no run can have, whatever its hardware.

Each bound is far from every honest run, and says why. Whether a number is likely is not asked: what a forger invents
within the bounds is for those who verify records.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from ..facts import Environment, SamplingFacts
from ..record import Record
from .faults import Faults, shown

START = datetime(2026, 1, 1, tzinfo=UTC)  # of the year in which ditbench began; clocks may be wrong by months
AHEAD = timedelta(days=1)  # clocks and their zones may be wrong by that much
OVERCOMMITTED = 16  # threads for each logical processor that the run may use; a site's OMP_NUM_THREADS may be for more
PYTHON = 2**24  # bytes that a process has at least which has loaded torch; in truth ten times as many
WEIGHT = 2  # bytes of a trained weight at least: they are float32, and half of them may be swapped out
OF_ALL = 1.1  # of a machine's memory: what is resident can't be more, but for how it is counted
CORE_FLOPS, GPU_FLOPS = 1e13, 2e16  # per second: of a core with matrix units, and of a GPU, some times today's best
MASKED = 0.5  # of training's MACs at least: counted for one draw of what is masked, which may mask more
EVALUATION = 1e-6  # seconds of a forward pass at least: one after the other, and launching a kernel takes longer


def dates(record: Record) -> Faults:
    """The run is of ditbench's days, and what was done with it came later."""
    yield from in_time("created", record.created)
    if record.raw is not None:
        yield from in_time("raw.created", record.raw.created)
        yield from not_before("raw.created", record.raw.created, record.created)
    if record.submission is not None:
        yield from in_time("submission.date", datetime.combine(record.submission.date, datetime.min.time(), UTC))


def in_time(field: str, moment: datetime) -> Faults:
    """A fault if a moment has no time zone, is yet to come, or was before ditbench."""
    if moment.tzinfo is None:
        yield f"{field} is {shown(moment.isoformat())}, should have a time zone"
    elif moment > datetime.now(UTC) + AHEAD:
        yield f"{field} is {shown(moment.isoformat())}, should not be yet to come"
    elif moment < START:
        yield f"{field} is {shown(moment.isoformat())}, should not be before {START.date()}: there was no ditbench"


def not_before(field: str, moment: datetime, run: datetime) -> Faults:
    """A fault if something was done with a run before it began."""
    if moment.tzinfo is not None and run.tzinfo is not None and moment + AHEAD < run:
        yield f"{field} is {shown(moment.isoformat())}, should not be before the run, of {run.isoformat()}"


def machine(record: Record) -> Faults:
    """Threads that its processors can bear, memory that it has and needs, and nothing of a GPU where there is none."""
    environment, on_gpu = record.environment, record.device.startswith("cuda")
    if environment is None:
        return
    if environment.cores and environment.threads > OVERCOMMITTED * environment.cores:
        most = f"at most {OVERCOMMITTED} for each of {environment.cores} logical processors"
        yield f"environment.threads is {environment.threads}, should be {most}"
    for name in () if on_gpu else ("cuda", "gpu_driver"):
        if getattr(environment, name) is not None:
            yield f"environment.{name} is {shown(getattr(environment, name))}, should be none: the run used no GPU"
    yield from _memory(record, environment, on_gpu)


def _memory(record: Record, environment: Environment, on_gpu: bool) -> Faults:
    memory, cost = record.memory, record.cost
    if memory is None:
        return
    if memory.resident_at_start < PYTHON:
        yield f"memory.resident_at_start is {memory.resident_at_start}, should be {PYTHON} or more: torch is loaded"
    for field, peak in (
        ("resident_at_start", memory.resident_at_start),
        ("training.resident", memory.training.resident),
    ):
        if (peak or 0) > OF_ALL * environment.memory_bytes:
            yield f"memory.{field} is {peak}, should be part of the machine's {environment.memory_bytes}"
    needed = 0 if cost is None else WEIGHT * cost.trainable_parameters // environment.processes  # where it is sharded
    peaks = (
        {"training.allocated": memory.training.allocated} if on_gpu else {"training.resident": memory.training.resident}
    )
    for field, found in peaks.items():
        if (found or 0) < needed:
            yield f"memory.{field} is {shown(found)}, should be {needed} or more: the weights alone take that"


def times(record: Record) -> Faults:
    """No training, and no measuring on the way, is faster than any hardware computes."""
    facts, cost, rate = record.training, record.cost, _flops(record)
    if facts is None or cost is None:
        return
    least = MASKED * 2 * cost.training_macs_per_image * facts.images / rate
    if facts.seconds < least:
        yield f"training.seconds is {facts.seconds}, should be {least:.3g} or more: nothing computes faster"
    asked = sum(1 for milestone in record.milestones if milestone.metrics)
    if record.sampling is None or facts.resumed:  # of a run that was killed, the last evaluation's time may be lost
        return
    least = asked * _least(record, record.sampling, record.track.evaluation.samples)
    if facts.evaluation_seconds < least:
        yield f"training.evaluation_seconds is {facts.evaluation_seconds}, should be {least:.3g} or more"


def sampling_times(record: Record, facts: SamplingFacts, field: str) -> Faults:
    """No batch of samples took less than its forward passes take, and latents were decoded."""
    for place, (images, seconds) in enumerate(zip(facts.batch_images, facts.batch_seconds, strict=False)):
        least = _least(record, facts, images)
        if 0 < seconds < least:
            yield f"{field}.batch_seconds.{place} is {seconds}, should be {least:.3g} or more: that many forward passes"
    if record.data is not None and record.data.autoencoder and record.metrics and facts.decode_seconds == 0:
        yield f"{field}.decode_seconds is 0.0, should be above: the samples are latents, which were decoded"


def _least(record: Record, facts: SamplingFacts, images: int) -> float:
    """Seconds that sampling takes at least: for want of FLOPs, or since a step waits for the one before."""
    macs = record.cost.macs_per_image if record.cost else 0
    return max(facts.evaluations * EVALUATION, 2 * macs * facts.evaluations * images / _flops(record))


def _flops(record: Record) -> float:
    """More FLOPs per second than all of the run's hardware has; infinite where it is not told."""
    environment = record.environment
    if environment is None:
        return math.inf
    each = (
        GPU_FLOPS if record.device.startswith("cuda") else CORE_FLOPS * max(environment.cores, environment.threads, 1)
    )
    return each * environment.processes
