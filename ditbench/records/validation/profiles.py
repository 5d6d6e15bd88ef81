"""A profile checked: its network's cost, its machine, and times and memory that any hardware may have had."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from ..facts import Cost
from ..profile import Phase, Profile, file_name, folder_name
from .cost import cost_on
from .faults import Faults, differs, not_negative, positive, shown
from .folder import put_forward
from .known import Known
from .plausible import CORE_FLOPS, GPU_FLOPS, MASKED, in_time


def profile_faults(profile: Profile, known: Known) -> Faults:
    """What does not hold within a profile; one that failed has nothing to hold."""
    yield from in_time("created", profile.created)
    if profile.submission is not None:
        yield from in_time("submission.date", datetime.combine(profile.submission.date, datetime.min.time(), UTC))
    if profile.cost is None:
        return
    yield from cost_on(profile.architecture, profile.setup.spec, profile.cost, known)
    settings = known.settings(profile.architecture)
    if settings is not None:
        yield from differs("architecture.settings", profile.architecture.settings, settings, "of its size and options")
    yield from _machine(profile)
    for name, phase, macs in _phases(profile, profile.cost):
        yield from _phase(name, phase, profile, 2 * macs * profile.setup.batch_size)
    yield from _share_of_peak(profile)


def committed_faults(profile: Profile, path: Path) -> Faults:
    """What `ditbench records submit` would not have let pass."""
    yield from differs("the file's name", path.name, file_name(profile), "of its content")
    yield from differs("the folder's name", path.absolute().parent.name, folder_name(profile), "its hardware")
    if profile.reason is not None:
        yield f"reason is {shown(profile.reason)}, should be none: what was not timed has no speed"
    yield from put_forward(profile, "profile")


def _phases(profile: Profile, cost: Cost) -> Iterator[tuple[str, Phase, float]]:
    """Each kind of step, and its multiply-accumulates of an image at least."""
    least = {
        "inference": float(cost.macs_per_image),
        "sampling": float(cost.macs_per_image),
        "training": MASKED * cost.training_macs_per_image,
    }
    for name, macs in least.items():
        phase: Phase | None = getattr(profile, name)
        if phase is not None:
            yield name, phase, macs


def _share_of_peak(profile: Profile) -> Faults:
    """No more than all of it."""
    peak, phase = profile.peak_flops, profile.training
    if peak is not None and peak <= 0:
        yield f"peak_flops is {shown(peak)}, should be above 0"
    elif phase is not None and median(phase.step_seconds) > 0 and (share := profile.utilisation() or 0.0) > 1:
        yield f"peak_flops is {shown(peak)}, should be more: training would take {share:.0%} of it"


def _machine(profile: Profile) -> Faults:
    environment, kind = profile.environment, profile.setup.device.partition(":")[0]
    if environment is None:
        return
    if (environment.gpu is not None) != (kind == "cuda"):
        yield f"environment.gpu is {shown(environment.gpu)}, should be {'one' if kind == 'cuda' else 'none'}"
    yield from differs("environment.parallel", environment.parallel, 1, "a profile is measured alone")


def _phase(name: str, phase: Phase, profile: Profile, flops: float) -> Faults:
    """As many times as were asked for, above 0 and no faster than any hardware; peaks of its kind of device."""
    times, environment, setup = phase.step_seconds, profile.environment, profile.setup
    yield from not_negative(
        name, {"warmup_seconds": phase.warmup_seconds, "compile_seconds": phase.compile_seconds or 0.0}
    )
    yield from positive(f"{name}.step_seconds", times)
    if len(times) < setup.steps or (name != "sampling" and len(times) > setup.steps):
        yield f"the length of {name}.step_seconds is {len(times)}, should be {setup.steps} (setup.steps)"
    on_gpu, peak = setup.device.startswith("cuda"), phase.peak
    rate = GPU_FLOPS if on_gpu else CORE_FLOPS * max(environment.cores if environment else 1, 1)
    if 0 < median(times) < flops / rate:
        yield f"the median of {name}.step_seconds is {median(times)}, should be {flops / rate:.3g} or more"
    if on_gpu and not 0 < (peak.allocated or 0) <= (peak.reserved or 0):
        yield f"{name}.peak.allocated is {shown(peak.allocated)}, should be part of the reserved {peak.reserved}"
    if not on_gpu and not (peak.resident or 0) >= (profile.resident_at_start or 0):
        yield f"{name}.peak.resident is {shown(peak.resident)}, should be what was resident at its start, or more"
