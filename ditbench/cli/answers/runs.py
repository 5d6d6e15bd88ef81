"""Answers of `run`, `plan`, `scaling`, `status`, `runs list`, `runs remove` and `profile`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...scaling.study import Study
from . import Answer
from .boards import BoardAnswer

State = Literal["done", "skipped", "failed", "diverged", "interrupted", "submitted", "planned"]


class RunFacts(Answer):
    """One run. Its record has all else."""

    label: str
    """The architecture: name:size+option=value."""
    seed: int
    ruleset: str
    """trial: of a search."""
    run_id: str
    folder: str
    record: str | None
    """The file. null: there is none yet."""
    state: State
    """skipped: it was finished before; submitted: a queue has it; planned: by a dry run."""
    reason: str
    """Why it did not finish; empty: it did."""
    log: str | None
    """What it printed, with its traceback if it failed."""
    metrics: dict[str, float]
    """By full name; the first ranks."""


class PlanFacts(Answer):
    """What was to be run."""

    track: str
    version: int
    hash: str
    ruleset: str
    budgets: list[str]
    device: str
    architectures: list[str]
    seeds: list[int]
    """Empty while trials of a search are not done."""
    seeds_for_a_rank: int
    """How many the track asks for, from 0 on."""
    folder: str


class RunAnswer(Answer):
    """What became of a plan of runs."""

    plan: PlanFacts
    runs: list[RunFacts]
    boards: list[BoardAnswer]
    """That these runs are on, with others in the folder."""
    message: str
    """Of runs that were submitted: how they go on; or why tables can't be written; else empty."""
    next: list[str]
    """What to do, in sentences."""


class PlannedRun(Answer):
    """What a run will take. null: not known."""

    architecture: str
    size: str
    seed: int
    ruleset: str
    status: str
    """to do, or how it has ended."""
    budget: str
    steps: int | None
    images: int | None
    training_gpu_hours: float | None
    sampling_gpu_hours: float | None
    hours: float | None
    training_flops: float | None
    sampling_flops: float
    disk_bytes: dict[str, int]
    """By purpose; peak of them together; kept when it has ended."""
    memory_bytes_per_gpu: float
    memory_is: str
    speed: str
    """measured, estimated, unknown."""
    by: str
    notes: list[str]


class PlanTotal(Answer):
    """Sums. null: one is not known."""

    training_gpu_hours: float | None
    sampling_gpu_hours: float | None
    training_flops: float | None
    sampling_flops: float | None
    disk_bytes: int
    kept_bytes: int


class ClusterHours(Answer):
    """Until all runs are done on so many GPUs."""

    gpus: int
    hours: float | None


class PlanAnswer(Answer):
    """What runs will take."""

    device: str
    gpus_per_run: int
    sharded: bool
    mfu_if_not_measured: float | None
    memory_bytes_per_gpu: float | None
    input: str
    runs: list[PlannedRun]
    total: PlanTotal
    hours_on: list[ClusterHours]
    warnings: list[str]


class ScalingRun(Answer):
    """A size at a budget, with all its seeds."""

    label: str
    flops: float
    training_macs_per_image: int
    steps: int
    epochs: float | None
    seeds: list[int]
    hours: float | None
    repeats: bool
    """More epochs than leave it a measure of scale alone."""


class ScalingPlan(Answer):
    """What `scaling --plan` would run."""

    plan: list[ScalingRun]


class Submitted(Answer):
    """Runs that a queue has, and how they go on."""

    message: str


ScalingAnswer = Study | ScalingPlan | Submitted


class StatusRow(Answer):
    """Where a run stands."""

    track: str
    run: str
    task: str
    """Of Slurm's; empty: it was not submitted."""
    queue: str
    record: str
    """How it ended; none yet; or waiting."""
    reason: str


Statuses = list[StatusRow]


class RunOnDisk(Answer):
    """A run's directory."""

    run: str
    track: str
    status: str
    mebibytes: float = Field(alias="MiB")
    age: str


RunsOnDisk = list[RunOnDisk]


class RemovedRuns(Answer):
    """What is gone."""

    removed: list[str]
    """Folders."""
    bytes: int


class ProfileRow(Answer):
    """A network that was timed, at a batch size. Numbers are None where there is a reason."""

    architecture: str
    batch_size: int
    mode: str
    spec: str
    record: str
    """The file."""
    reason: str | None
    """Why it could not be timed."""
    training_images_per_second: float | None
    """Medians."""
    inference_images_per_second: float | None
    mfu: float | None
    """Null, too, where the device's peak is not known."""
    parameters: int | None
    macs_per_image: int | None


class ProfileAnswer(Answer):
    """What was timed."""

    profiles: list[ProfileRow]
    pages: list[str]
    """Tables of all profiles of a mode, in the folder."""
