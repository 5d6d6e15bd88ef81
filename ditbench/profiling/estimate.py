"""What runs will take, before anything is spent: time, FLOPs, disk and memory.

Imports no torch: `workload.py` counts what is asked here. A number that nothing stands behind is None.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BadFile, BadValue, demand
from ..records.facts import is_processor, on_threads
from ..records.files import CHECKPOINTS, PROFILE_SUFFIX
from ..records.profile import Phase, Profile, read_profile
from ..records.record import Record
from ..storage.files import is_folder
from ..tracks.budget import Budget
from ..tracks.config import RunConfig
from ..tracks.recipe import Recipe
from ..tracks.threads import has_one_thread
from .attainable import attainable
from .hardware import dense_peak
from .rates import processor_speed
from .speed import Speed, Workload

# Of DiT-XL/2 at batch 256 on eight A100: 1.71 steps/s (U-DiT's authors), 12.5 % of the peak of bfloat16. The precision
# is not told; if it was TF32, whose peak is half as high, it was 25 %. This is the careful reading, for networks that
# have no estimate of their own.
MFU = 0.12
ATTAINABLE_MARK = "what it may attain"
MFU_SOURCE = "DiT-XL/2 at batch 256 on eight A100, 1.71 steps/s as U-DiT's authors report it, is 12.5 %"

_FLOAT = 4  # bytes: weights, gradients and moments are float32 at every precision


@dataclass(frozen=True)
class Machine:
    """What each run will be given. `device` is torch's name of a GPU, or a record's class of hardware."""

    device: str
    gpus: int = 1  # of each run
    mfu: float | None = None  # where nothing was measured; None: the network's estimate, or `MFU`
    memory: float | None = None  # bytes of one GPU; None: not known
    shard: bool = False  # what is kept of every weight lies in shards over the GPUs of a run

    @property
    def is_cpu(self) -> bool:
        """Whether this is a processor."""
        return is_processor(self.device)

    def given_to(self, config: RunConfig, load: Workload) -> Machine:
        """What one run has of it: of a processor, a small one has one thread."""
        small = has_one_thread(load.cost.training_macs_per_image * config.recipe.batch_size)
        return replace(self, device=on_threads(self.device, 1)) if self.is_cpu and self.gpus == 1 and small else self

    def timed(self, profile: Profile) -> bool:
        """Whether a profile was measured on it, with whatever threads."""
        there = profile.environment.hardware if profile.environment else ""
        return there == self.device or (
            self.is_cpu and is_processor(there) and on_threads(there, 1) == on_threads(self.device, 1)
        )


@dataclass(frozen=True)
class PeakEstimate:
    """Peak bytes on each GPU in training; `whole`: activations are counted."""

    bytes: float
    whole: bool
    fixed: float  # of these: weights, EMA, gradients and moments, which no smaller pass shrinks
    average: float  # the EMA by itself, of which each GPU has all to draw samples


@dataclass(frozen=True)
class Disk:
    """Bytes in a run's directory: checkpoints, both weights at the end, snapshots, and the images being measured."""

    checkpoints: int
    weights: int
    samples: int
    snapshots: int = 0

    @property
    def peak(self) -> int:
        """All at once, as at the end of training."""
        return self.checkpoints + self.weights + self.samples + self.snapshots


@dataclass(frozen=True)
class RunEstimate:
    """One run. A `status` says that it has ended already, so that it takes nothing more."""

    config: RunConfig
    status: str
    speed: Speed
    steps: int | None
    images: int | None
    training_gpu_hours: float | None
    sampling_gpu_hours: float | None
    training_flops: float | None  # as a budget of FLOPs counts them
    sampling_flops: float
    disk: Disk
    kept: int  # bytes of `disk` that stay when the run has ended
    memory: PeakEstimate
    notes: tuple[str, ...]  # what to know of the numbers

    def hours(self, gpus: int) -> float | None:
        """From its start to its end, if `gpus` are that many times as fast as one."""
        total = add((self.training_gpu_hours, self.sampling_gpu_hours))
        return None if total is None else total / gpus


def estimate(
    config: RunConfig,
    load: Workload,
    machine: Machine,
    profiles: Iterable[Profile],
    records: Iterable[Record] = (),
    others: Iterable[Record] = (),
) -> RunEstimate:
    """One run, by the best profile of it or by its MACs; `records` may have it already.

    On a processor without a profile it goes by records of this network, these or `others`.
    """
    records, machine = list(records), machine.given_to(config, load)
    if machine.gpus > config.recipe.batch_size:
        raise BadValue(f"`gpus` {machine.gpus} are more than the {config.recipe.batch_size} images of a batch.")
    profile = nearest(profiles, config, load, machine)
    if machine.is_cpu and profile is None:
        speed = processor_speed(config, load, [*records, *others])
    else:
        speed = speed_of(config, load, machine, profile)
    notes = list(_differences(profile, config, load, machine)) if profile else []
    status = ended(config, records, machine)
    steps, hours = _training(config, load, machine, speed)
    images = None if steps is None else steps * config.recipe.batch_size
    drawn = config.track.evaluation.samples * (1 + len(config.eval_at) + config.raw_weights)
    if load.decoder_macs and dense_peak(machine.device, "float32") is None:
        notes.append("decoding latents is not in its hours: the device is not in the table of peaks")
    if load.decoder_macs is None:
        notes.append("decoding latents is not counted: this autoencoder's cost is not known")
    disk = _disk(config, load)
    found = RunEstimate(
        config=config,
        status=status,
        speed=speed,
        steps=steps,
        images=images,
        training_gpu_hours=hours,
        sampling_gpu_hours=_sampling_hours(drawn, load, machine, speed),
        training_flops=None if images is None else float(images * load.cost.training_flops(config.flops_rule)),
        sampling_flops=2.0 * drawn * (load.evaluations * load.cost.macs_per_image + (load.decoder_macs or 0)),
        disk=disk,
        kept=disk.weights + disk.snapshots + (disk.samples if config.keep_samples else 0),
        memory=memory_of(config, load, machine, profile),
        notes=tuple(notes),
    )
    return _spent(found) if status else found


def read_all(folder: Path) -> list[Profile]:
    """The profiles in a folder that have measurements; none if there is no such folder."""
    found = [read_profile(path) for path in sorted(folder.glob(f"*{PROFILE_SUFFIX}"))]
    return [profile for profile in found if not profile.reason]


def check_profiles(folder: Path | None) -> list[Profile]:
    """Those of the folder that was named, which must be there, or of ``profiles``, which need not."""
    if folder is not None and not is_folder(folder):
        raise BadFile(f"The profiles folder {str(folder)!r} does not exist. `ditbench profile` makes one.")
    return read_all(folder or Path("profiles"))


def nearest(profiles: Iterable[Profile], config: RunConfig, load: Workload, machine: Machine) -> Profile | None:
    """The profile of this network on this input and device that was timed most like the run: precision, mode, batch."""
    settings = config.build_settings
    fitting = [
        profile
        for profile in profiles
        if (profile.architecture.name, profile.architecture.size) == (config.architecture, config.size)
        and profile.architecture.settings == settings
        and profile.setup.spec == load.spec
        and machine.timed(profile)
    ]
    return min(fitting, key=lambda profile: _distance(profile, config, load, machine), default=None)


def speed_of(config: RunConfig, load: Workload, machine: Machine, profile: Profile | None) -> Speed:
    """Measured, or what a share of the device's peak makes of the MACs, or nothing."""
    if profile is not None:
        setup, mode = profile.setup, "compiled" if profile.setup.compile else "eager"
        device = profile.environment.hardware if profile.environment else machine.device
        by = f"{device}, {setup.precision}, batch {setup.batch_size}, {mode}"
        training, denoising = (_rate(phase, profile) for phase in (profile.training, _denoising(profile, config)))
        return Speed(training, denoising, "measured", by)
    peak = dense_peak(machine.device, load.precision)
    if peak is None:
        return Speed(None, None, "unknown", "no profile, and not in the table of peaks")
    known = None if machine.mfu is not None else attainable(config, load.spec, load.compiled)
    share = known or machine.mfu or MFU
    usable = peak * share / 2  # multiply-accumulates per second
    told = f", {ATTAINABLE_MARK}" if known else ""
    by = f"MFU {share:.3g} of {peak / 1e12:g} TFLOP/s ({load.precision}){told}"
    training = load.cost.training_macs_per_image + load.recomputed_macs
    return Speed(usable / training, usable / load.cost.macs_per_image, "estimated", by)


def memory_of(config: RunConfig, load: Workload, machine: Machine, profile: Profile | None) -> PeakEstimate:
    """A profile's peak with as many images as a pass has, or what the parameters alone take."""
    recipe, cost = config.recipe, load.cost
    trained = _FLOAT * ((1 + config.averages) * cost.parameters + (1 + recipe.moments) * cost.trainable_parameters)
    average = _FLOAT * cost.parameters  # the EMA, which no profile has
    fixed = (trained + average) / (machine.gpus if machine.shard else 1)
    sampling = average if machine.shard else 0
    peak = None if profile is None or profile.training is None else profile.training.peak.reserved
    if profile is None or peak is None:  # a processor's resident set has the libraries, too
        return PeakEstimate(fixed + sampling, False, fixed, average)
    timed = _FLOAT * (cost.parameters + 3 * cost.trainable_parameters)  # a profile steps with AdamW
    activations = max(0, peak - timed) / profile.setup.batch_size * in_a_pass(recipe, machine)
    return PeakEstimate(fixed + max(activations, sampling), True, fixed, average)


def in_a_pass(recipe: Recipe, machine: Machine) -> int:
    """Images that one GPU sees at a time."""
    share = math.ceil(recipe.batch_size / machine.gpus)
    return min(recipe.micro_batch or share, share)


def misfit(found: RunEstimate, machine: Machine) -> str | None:
    """Why the run will not fit the device, and the way out; None if it will, or if that is not known."""
    memory, limit = found.memory, machine.memory
    if found.status or limit is None or memory.bytes <= limit:
        return None
    about = "about" if memory.whole else "at least"
    told = (
        f"{found.config.label} will not fit: {about} {memory.bytes / 2**30:.1f} GiB on each GPU, and {machine.device} "
        f"has {limit / 2**30:.1f} GiB."
    )
    if memory.fixed > limit:
        return f"{told} Weights, EMA, gradients and moments are too large as they are: {_spread(found, machine)}."
    return f"{told} Try `micro_batch` {_fitting_pass(found, machine)}, `checkpointing`, or more `gpus`."


def ended(config: RunConfig, records: Iterable[Record], machine: Machine) -> str:
    """``finished`` or ``diverged`` if a record is of this very run on this device; else nothing.

    Which data lies where `config.data` leads is not looked at; if it is empty, it must have been the track's own.
    """
    for record in records:
        hardware = record.environment.hardware if record.environment else ""
        if record.status not in ("finished", "diverged") or hardware != machine.device:
            continue
        theirs = {name: getattr(record, name) for name in ("device", "data_sha256", "reference_sha256")}
        theirs["hardware"] = hardware
        as_asked = bool(config.data) or set(record.deviations) == set(config.deviations)
        if as_asked and config.model_copy(update=theirs).hash == record.run_hash:
            return record.status
    return ""


def makespan(hours: Iterable[float], places: int) -> float:
    """Hours until all runs are done on so many places, the longest first, each where one is free first."""
    hours = list(hours)
    for hour in hours:
        demand("hours", hour, int, float)
    demand("places", places, int)
    if places < 1:
        raise BadValue(f"`places` {places}: give 1 or more.")
    ends = [0.0] * places
    for length in sorted(hours, reverse=True):
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


def add(numbers: Iterable[float | None]) -> float | None:
    """Their sum, which is not known if one of them isn't."""
    total = 0.0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def _distance(profile: Profile, config: RunConfig, load: Workload, machine: Machine) -> tuple[float, ...]:
    setup = profile.setup
    return (
        profile.environment is None or profile.environment.hardware != machine.device,
        setup.precision != load.precision,
        setup.compile != load.compiled,
        abs(math.log(setup.batch_size / in_a_pass(config.recipe, machine))),
        profile.architecture.source_sha256 != config.source_sha256,
        -profile.created.timestamp(),
    )


def _differences(profile: Profile, config: RunConfig, load: Workload, machine: Machine) -> Iterable[str]:
    """In what a profile is not of the run."""
    setup, images = profile.setup, in_a_pass(config.recipe, machine)
    if profile.environment is not None and profile.environment.hardware != machine.device:
        yield f"measured on {profile.environment.hardware}, but the run is on {machine.device}"
    if setup.precision != load.precision:
        yield f"measured in {setup.precision}, but the run is in {load.precision}"
    if setup.compile != load.compiled:
        yield f"measured {_mode(setup.compile)}, but the run is {_mode(load.compiled)}"
    if setup.batch_size != images:
        yield f"measured at batch {setup.batch_size}, but the run has {images} images in a pass"
    if profile.architecture.source_sha256 != config.source_sha256:
        yield "measured with other code of the plugin"


def _mode(compiled: bool) -> str:
    return "compiled" if compiled else "eager"


def _denoising(profile: Profile, config: RunConfig) -> Phase | None:
    """The steps of the run's own sampler, where they were timed; else forward passes alone."""
    sampler = profile.setup.sampler
    return profile.sampling if sampler and sampler.name == config.track.sampler.name else profile.inference


def _rate(phase: Phase | None, profile: Profile) -> float | None:
    return None if phase is None else phase.images_per_second(profile.setup.batch_size)[1]


def _training(config: RunConfig, load: Workload, machine: Machine, speed: Speed) -> tuple[int | None, float | None]:
    """Steps to the end of the budget, and GPU-hours."""
    budget, batch = Budget.parse(config.budget), config.recipe.batch_size
    if budget.is_of_time:
        hours = budget.amount if budget.unit == "gpu_hours" else budget.amount * machine.gpus / 3600
        return None if speed.training is None else math.ceil(hours * 3600 * speed.training / batch), hours
    flops = batch * load.cost.training_flops(config.flops_rule)
    per_step = {"steps": 1, "images": batch, "flops": flops}[budget.unit]
    steps = math.ceil(budget.amount / per_step)  # the step that reaches it is the last
    return steps, None if speed.training is None else steps * batch / speed.training / 3600


def _sampling_hours(drawn: int, load: Workload, machine: Machine, speed: Speed) -> float | None:
    if speed.denoising is None:
        return None
    peak = dense_peak(machine.device, "float32")  # decoders work in it
    decoding = 2 * load.decoder_macs / (peak * (machine.mfu or MFU)) if load.decoder_macs and peak else 0.0
    return drawn * (load.evaluations / speed.denoising + decoding) / 3600


def _disk(config: RunConfig, load: Workload) -> Disk:
    cost = load.cost
    both, averages = 2 * _FLOAT * cost.parameters, _FLOAT * config.averages * cost.parameters
    moments = config.recipe.moments * _FLOAT * cost.trainable_parameters
    return Disk(
        checkpoints=CHECKPOINTS * (both + moments + averages),
        weights=both,
        samples=config.track.evaluation.samples * math.prod(load.image_shape),
        snapshots=config.ema_snapshots * averages,
    )


def _spent(found: RunEstimate) -> RunEstimate:
    """The same of a run that has ended: nothing is left to pay."""
    nothing = {"training_gpu_hours": 0.0, "sampling_gpu_hours": 0.0, "training_flops": 0.0, "sampling_flops": 0.0}
    return RunEstimate(**{**vars(found), **nothing, "disk": Disk(0, 0, 0), "kept": 0, "notes": ()})


def _spread(found: RunEstimate, machine: Machine) -> str:
    """How a run can have what it keeps of its weights, if it takes more than one GPU has."""
    limit, whole = machine.memory or 0.0, found.memory.fixed * (machine.gpus if machine.shard else 1)
    if found.memory.average >= limit:
        return "take GPUs with more memory"
    return f"`shard` spreads them; take {math.ceil(whole / (limit - found.memory.average))} GPUs at least"


def _fitting_pass(found: RunEstimate, machine: Machine) -> int:
    """The largest part of the batch that fits, but at least one image."""
    recipe, memory = found.config.recipe, found.memory
    assert machine.memory is not None
    images = in_a_pass(recipe, machine)
    fitting = (machine.memory - memory.fixed) / (memory.bytes - memory.fixed) * images
    return max(n for n in range(1, max(1, int(fitting)) + 1) if recipe.batch_size % n == 0)
