"""One profile: how a denoiser was timed, what was measured, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from ..denoiser_spec import DenoiserSpec
from ..storage.files import write_text
from ..storage.schema import Count, Frozen, Positive, digest, read_checked
from ..tracks.architecture import ArchitectureFacts
from ..tracks.recipe import ObjectiveChoice
from ..tracks.track import SamplerChoice
from .facts import Cost, Environment, PeakMemory
from .files import PROFILE_SUFFIX, profile_files_beside
from .record import Submission

COUNTER_SECONDS = 1.0  # NVML's energy counter moves up to 0.1 s late, so that less time would be off by over 10 %


class How(Frozen):
    """How denoisers are timed, whatever their input."""

    batch_size: Positive  # images per step of each device
    devices: Positive = 1  # that work together
    steps: Annotated[int, Field(ge=4)]  # timed; quartiles need some
    warmup: Annotated[int, Field(ge=0)]  # not timed, besides the first
    precision: Literal["float32", "tf32", "bfloat16", "auto"]  # auto: as the device suggests; resolved in a `Setup`
    compile: bool
    device: str
    objective: ObjectiveChoice | None = None  # a track's, and its loss, in training; None: a stand-in
    sampler: SamplerChoice | None = None  # a track's, of which steps are timed, too, without guidance

    @property
    def images(self) -> int:
        """Images per step of all devices."""
        return self.batch_size * self.devices

    @property
    def mode(self) -> str:
        """For file names: profiles of one mode share a table."""
        device, how = self.device.replace(":", ""), "compiled" if self.compile else "eager"
        loss = "-loss" if self.objective else ""
        return f"{device}-b{self.batch_size}-{self.precision}-{how}{loss}"


class Setup(How):
    """How one denoiser is timed, and on which input."""

    spec: DenoiserSpec
    track: str | None = None  # whose input this is; its version and hash behind it


class Turn(Frozen):
    """When a denoiser's turn came. The order is random, and the seed gives it again."""

    seed: Count
    position: Count
    of: Positive


class Phase(Frozen):
    """Raw, synchronised times of one kind of step, and its peak memory."""

    warmup_seconds: float  # the steps before the timed ones, without what compiling took
    compile_seconds: float | None  # by `torch.compile` itself, whenever it was at work; None: not asked for
    step_seconds: Annotated[list[float], Field(min_length=4)]
    compiled_steps: Count = 0  # timed steps in which it compiled once more: their times are that much longer
    peak: PeakMemory
    joules: Annotated[float, Field(gt=0)] | None = None  # of the GPU during the timed steps

    def images_per_second(self, images: int) -> tuple[float, float, float]:
        """First quartile, median and third quartile of the throughput, with `images` per step."""
        fast, middle, slow = quantiles(self.step_seconds, n=4, method="inclusive")
        return images / slow, images / middle, images / fast

    def joules_per_image(self, batch_size: int) -> float | None:
        """The GPU's energy, idle draw included; None without a counter, or if it had too little time to move."""
        if self.joules is None or sum(self.step_seconds) < COUNTER_SECONDS:
            return None
        return self.joules / (len(self.step_seconds) * batch_size)


class Profile(Frozen):
    """What one denoiser costs in time, memory and energy. What failed has a reason instead."""

    schema_version: Literal[1] = 1
    created: datetime
    architecture: ArchitectureFacts
    setup: Setup
    turn: Turn
    environment: Environment | None = None
    resident_at_start: Count | None = None  # bytes: libraries, before the network is built
    cost: Cost | None = None
    inference: Phase | None = None
    training: Phase | None = None
    sampling: Phase | None = None  # a step: from one evaluation by the setup's sampler to the next
    peak_flops: float | None = None  # dense, per second, of one device; None: not in the table of peaks
    peaks_version: str | None = None  # of that table
    reason: str | None = None
    submission: Submission | None = None  # set when it is put forward for the leaderboard

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Profile:
        measured = (self.environment, self.cost, self.inference, self.training, self.peaks_version)
        if (None not in measured) == bool(self.reason):
            raise ValueError("a profile has either all of its measurements or a reason")
        if (self.sampling is not None) != (self.setup.sampler is not None and not self.reason):
            raise ValueError("a profile has times of sampling if its setup has a sampler")
        return self

    @property
    def label(self) -> str:
        """The architecture as the command line spells it."""
        return self.architecture.label

    def utilisation(self) -> float | None:
        """MFU: the FLOPs of training over the device's dense peak; None where that is not known.

        These are the FLOPs that a budget counts: what checkpointing computes again is no use of the device.
        """
        if self.training is None or self.cost is None or self.peak_flops is None:
            return None
        flops = self.cost.training_flops() * self.setup.batch_size
        return flops / median(self.training.step_seconds) / self.peak_flops


def write_profile(profile: Profile, folder: Path) -> Path:
    """Write one profile as JSON, atomically, under its name."""
    path = folder / file_name(profile)
    write_text(path, profile.model_dump_json(indent=1) + "\n")
    return path


def file_name(profile: Profile) -> str:
    """It says what a profile is of and how it was taken.

    Another version of the plugin has another name, and what failed never takes the place of what was measured.
    """
    name = "".join(c if c.isalnum() or c in "._=" else "-" for c in profile.label)
    spec, source = profile.setup.spec, profile.architecture.source_sha256[:6]
    known = {name: value for name, value in asdict(spec).items() if (name, value) != ("frames", 1)}  # later than others
    shape = f"{spec.resolution}x{spec.resolution}x{spec.channels}-{digest(known, 4)}"
    failed = "-failed" if profile.reason else ""
    return f"{name}-{source}{failed}-{shape}-{profile.setup.mode}{PROFILE_SUFFIX}"


def folder_name(profile: Profile) -> str:
    """Of its class of hardware, in a leaderboard: lower-case letters, digits and dashes."""
    hardware = profile.environment.hardware if profile.environment else "unknown"
    return re.sub("[^a-z0-9]+", "-", hardware.lower()).strip("-")


def read_profile(path: Path) -> Profile:
    """Read and check a profile; `BadFile` names the file and the field."""
    return read_checked(Profile, path)


def committed_profiles(records: Path) -> list[Profile]:
    """The profiles of the leaderboard whose records' folder this is."""
    return [read_profile(path) for path in profile_files_beside(records)]


def read_profiles(folder: Path, mode: str) -> list[Profile]:
    """The profiles in a folder that were taken in one mode, of each architecture and input the newest.

    None if the folder is not there. What failed counts only where nothing was measured.
    """
    newest: dict[tuple[str, str], Profile] = {}
    found = [read_profile(path) for path in folder.glob(f"*-{mode}{PROFILE_SUFFIX}")]
    for profile in sorted(found, key=lambda profile: (not profile.reason, profile.created)):
        newest[profile.label, str(profile.setup.spec)] = profile
    return sorted(newest.values(), key=lambda profile: (profile.label, str(profile.setup.spec)))
