"""Profiles as tables: what each phase took, fastest first, and what was counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from ..errors import in_markdown
from ..records.facts import Environment, PeakMemory
from ..records.profile import Phase, Profile
from ..storage.files import write_text

PhaseName = Literal["training", "inference", "sampling"]

_MEMORY: dict[str, Callable[[PeakMemory], int | None]] = {
    "resident MiB": lambda peak: peak.resident,
    "allocated MiB": lambda peak: peak.allocated,
    "reserved MiB": lambda peak: peak.reserved,
    "device-wide MiB": lambda peak: peak.device_used,
}

_NOTES = """\
Throughputs are medians (first to third quartile) of synchronised steps. Warm-up is what went before them, compiling
not included. Resident memory is the process's, its libraries included. Allocated and reserved are the peaks of torch's
allocator; device-wide is all that was in use on the GPU after any step, whoever used it. Energy is the GPU's, by NVML's
counter, which needs a second of timed steps. One MAC is two FLOPs, both are per image, attention included; training
counts every forward and backward pass of a step on the tokens that it sees, as a budget of FLOPs does: not what
checkpointing computes again, and the mean of what is drawn. A training step is forward and backward of the network's
own loss on noise, and AdamW: no data and no EMA, whose copy of the weights a run has besides. With the track's loss it
draws times and noise and makes x_t as well, and sampling is timed: from one evaluation by the sampler to the next,
without guidance.
"""


def tables(profiles: Sequence[Profile]) -> dict[str, pd.DataFrame]:
    """Title -> table of text, none of them empty. A column in which nothing is known is left out."""
    timed = [profile for profile in profiles if not profile.reason]
    sampled = [profile for profile in timed if profile.sampling is not None]
    failed = [profile for profile in profiles if profile.reason]
    found = {
        "Training": [_phase_row(profile, "training", timed) for profile in _fastest_first(timed, "training")],
        "Inference": [_phase_row(profile, "inference", timed) for profile in _fastest_first(timed, "inference")],
        "Sampling": [_phase_row(profile, "sampling", sampled) for profile in _fastest_first(sampled, "sampling")],
        "Counts": _counts(timed),
        "Not timed": [{**_head(profile), "reason": profile.reason or ""} for profile in failed],
    }
    return {title: _without_blanks(pd.DataFrame(rows)) for title, rows in found.items() if rows}


def write_page(profiles: Sequence[Profile], path: Path, plot: str | None) -> None:
    """The tables of profiles of one mode as Markdown, above them the plot, a file beside the page, if there is one."""
    parts = [f"# Profile: {profiles[0].setup.mode.replace('-', ', ')}"]
    if plot:
        parts.append(f"![Throughput against peak memory]({plot})")
    for title, frame in tables(profiles).items():
        parts += [f"## {title}", frame.map(in_markdown).to_markdown(index=False, disable_numparse=True)]
    machines = sorted({machine(profile.environment) for profile in profiles if profile.environment})
    parts += [f"Measured on {in_markdown('; '.join(machines))}."] if machines else []
    write_text(path, "\n\n".join([*parts, _NOTES]))


def machine(environment: Environment) -> str:
    """What computed, and with which torch."""
    return f"{environment.gpu or environment.cpu}, torch {environment.torch}"


def phase_of(profile: Profile, name: PhaseName) -> Phase:
    """A phase of a profile that has its measurements."""
    phase: Phase | None = getattr(profile, name)
    assert phase is not None
    return phase


def _fastest_first(profiles: Sequence[Profile], name: PhaseName) -> list[Profile]:
    def speed(profile: Profile) -> float:
        return phase_of(profile, name).images_per_second(profile.setup.images)[1]

    return sorted(profiles, key=lambda profile: (-speed(profile), profile.label))


def _head(profile: Profile) -> dict[str, str]:
    return {"architecture": profile.label, "input": str(profile.setup.spec)}


def _phase_row(profile: Profile, name: PhaseName, all_of_them: Sequence[Profile]) -> dict[str, str]:
    phase, setup = phase_of(profile, name), profile.setup
    low, middle, high = phase.images_per_second(setup.batch_size)
    energy, mfu = phase.joules_per_image(setup.batch_size), profile.utilisation() if name == "training" else None
    machines = {machine(other.environment) for other in all_of_them if other.environment}
    memory = {title: _mebibytes(peak(phase.peak)) for title, peak in _MEMORY.items()}
    several = len({other.setup.batch_size for other in all_of_them}) > 1
    return {
        **_head(profile),
        "batch": str(setup.batch_size) if several else "",
        "images/s per device": f"{_figures(middle)} ({_figures(low)} to {_figures(high)})",
        "devices": str(setup.devices),
        "images/s": _figures(phase.images_per_second(setup.images)[1]),
        **memory,
        "warm-up s": f"{phase.warmup_seconds:.1f}",
        "compile s": "" if phase.compile_seconds is None else f"{phase.compile_seconds:.1f}",
        "MFU": "" if mfu is None else f"{mfu:.1%}",
        "J/image": "" if energy is None else _figures(energy),
        "machine": machine(profile.environment) if profile.environment and len(machines) > 1 else "",
        "note": f"{phase.compiled_steps} timed steps compiled again" if phase.compiled_steps else "",
    }


def _counts(profiles: Sequence[Profile]) -> list[dict[str, str]]:
    """A row for each network and input, whatever its batches."""
    rows = [_count_row(profile) for profile in sorted(profiles, key=lambda profile: profile.label)]
    return [row for place, row in enumerate(rows) if row not in rows[:place]]


def _count_row(profile: Profile) -> dict[str, str]:
    cost = profile.cost
    assert cost is not None
    return {
        **_head(profile),
        "params (M)": f"{cost.parameters / 1e6:.2f}",
        "without train-only (M)": f"{(cost.parameters - cost.train_only_parameters) / 1e6:.2f}",
        "GMACs": _figures(cost.macs_per_image / 1e9),
        "GFLOPs": _figures(2 * cost.macs_per_image / 1e9),
        "training GFLOPs": _figures(cost.training_flops() / 1e9),
    }


def _figures(value: float) -> str:
    """Four significant figures, or all before the point, and no exponent."""
    decimals = 3 - math.floor(math.log10(value)) if value else 0
    return f"{value:,.{max(0, decimals)}f}"


def _mebibytes(amount: int | None) -> str:
    return "" if amount is None else f"{math.ceil(amount / 2**20):,}"


def _without_blanks(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[:, (frame != "").any()]
