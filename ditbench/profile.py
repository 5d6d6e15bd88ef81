"""What a denoiser costs in time and memory: the plan, the record, and the table. `stopwatch.py` measures.

Imports no torch: each denoiser is timed in a clean process of its own.
"""

from __future__ import annotations

import math
import pkgutil
import random
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Literal

import pandas as pd
import pydantic
from pydantic import Field

from .components import DenoiserSpec, Selection
from .errors import DitbenchError
from .executors import Worker, answer_of
from .plan import select
from .record import PROFILE_SUFFIX, Cost, Environment, PeakMemory, read_checked
from .registry import Registry
from .storage import write_text
from .track import Frozen, Positive, digest

# Dense peaks in FLOP/s as the vendors' data sheets state them, November 2026; float32 is without TF32.
PEAKS: dict[str, dict[str, float]] = {
    "NVIDIA H100 80GB HBM3": {"bfloat16": 989.4e12, "float32": 66.9e12},
    "NVIDIA H200": {"bfloat16": 989.4e12, "float32": 66.9e12},
    "NVIDIA A100-SXM4-40GB": {"bfloat16": 312e12, "float32": 19.5e12},
    "NVIDIA A100-SXM4-80GB": {"bfloat16": 312e12, "float32": 19.5e12},
}


class Setup(Frozen):
    """How one denoiser is timed."""

    spec: DenoiserSpec
    batch_size: Positive
    steps: Annotated[int, Field(ge=4)]  # timed; quartiles need some
    warmup: Annotated[int, Field(ge=0)]  # not timed, besides the first
    precision: Literal["float32", "bfloat16"]
    compile: bool
    device: str

    @property
    def mode(self) -> str:
        """All but the input, for file names and titles."""
        device, how = self.device.replace(":", ""), "compiled" if self.compile else "eager"
        return f"{device}-b{self.batch_size}-{self.precision}-{how}"


class Phase(Frozen):
    """Raw, synchronised times of one kind of step."""

    first_seconds: float  # allocation and, if asked, compilation
    warmup_seconds: float
    step_seconds: Annotated[list[float], Field(min_length=4)]
    peak: PeakMemory

    def images_per_second(self, batch_size: int) -> tuple[float, float, float]:
        """First quartile, median and third quartile."""
        fast, middle, slow = quantiles(self.step_seconds, n=4, method="inclusive")
        return batch_size / slow, batch_size / middle, batch_size / fast


class Profile(Frozen):
    """One denoiser's times. What failed has a reason instead."""

    schema_version: Literal[1] = 1
    label: str
    setup: Setup
    environment: Environment | None = None
    resident_at_start: int | None = None  # bytes: libraries, before the network is built
    cost: Cost | None = None
    inference: Phase | None = None
    training: Phase | None = None
    reason: str | None = None
    position: int | None = None  # when its turn came; the order is drawn anew each time

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Profile:
        measured = None not in (self.environment, self.cost, self.inference, self.training)
        if measured == bool(self.reason):
            raise ValueError("a profile has either all of its measurements or a reason")
        return self

    def utilisation(self) -> float | None:
        """MFU: the FLOPs of training over the device's dense peak; None where that is not known.

        With checkpointing the recomputed FLOPs count, too. MDT v2's are those of one drawn mask ratio.
        """
        if self.training is None or self.cost is None or self.environment is None:
            return None
        peak = PEAKS.get(self.environment.gpu or "", {}).get(self.setup.precision)
        flops = 2 * self.cost.training_macs_per_image * self.setup.batch_size
        return flops / median(self.training.step_seconds) / peak if peak else None


def run_profiles(selections: Sequence[Selection], setups: Sequence[Setup]) -> Iterator[Profile]:
    """Time each selection in a clean process, in random order, so that no one always comes first.

    Raises `DitbenchError` at once if a network can't be built or the device is not here. Ctrl-C stops the one
    that is being timed; those before it have been yielded.
    """
    tasks = list(zip((selection.label for selection in selections), setups, strict=True))
    answer_of(_serve_check, tasks)
    random.shuffle(tasks)
    for position, (label, setup) in enumerate(tasks):
        answers: list[Profile] = []
        worker = Worker(_serve, (label, setup))
        if worker.listen(answers.append):
            raise KeyboardInterrupt
        found = answers[0] if answers else Profile(label=label, setup=setup, reason=worker.how_it_ended)
        yield found.model_copy(update={"position": position})


def _serve_check(outbox: Connection, tasks: Sequence[tuple[str, Setup]]) -> None:
    """In a process of its own: the user's mistake, or None."""
    try:
        pkgutil.resolve_name("ditbench.stopwatch:check")(
            [(select(Registry.installed(), label), setup) for label, setup in tasks]
        )
        outbox.send(None)
    except DitbenchError as error:
        outbox.send(error)


def _serve(outbox: Connection, task: tuple[str, Setup]) -> None:
    """In a process of its own: time, and answer with the profile, or with one that says why there is none."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server it was forked from ignores Ctrl-C
    label, setup = task
    try:
        selection = select(Registry.installed(), label)
        outbox.send(pkgutil.resolve_name("ditbench.stopwatch:profile")(selection, setup))
    except KeyboardInterrupt:
        return
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        outbox.send(Profile(label=label, setup=setup, reason=reason))


def table(profiles: Sequence[Profile]) -> pd.DataFrame:
    """One row per profile, by training speed; what failed comes last with its reason."""
    ranked = sorted(profiles, key=lambda p: (p.training is None, -_speed(p), p.label))
    frame = pd.DataFrame([_row(profile) for profile in ranked]).fillna("")
    return frame.loc[:, (frame != "").any()]  # on an unknown device, no MFU; without failures, no notes


def write_table(folder: Path, setup: Setup) -> None:
    """The table of all profiles in a folder that were taken like this one, as Markdown."""
    profiles = [read_profile(path) for path in sorted(folder.glob(f"*-{setup.mode}{PROFILE_SUFFIX}"))]
    machines = sorted({f"{p.environment.gpu or p.environment.cpu}, torch {p.environment.torch}" for p in profiles
                       if p.environment})  # fmt: skip
    page = [
        f"# Profile: {setup.mode.replace('-', ', ')}",
        table(profiles).to_markdown(index=False),
        f"Medians (first to third quartile) of synchronised steps on {'; '.join(machines) or 'no machine'}. "
        "One MAC is two FLOPs. On a CPU memory is the resident set of the process, its libraries included.",
    ]
    write_text(folder / f"profile-{setup.mode}.md", "\n\n".join(page) + "\n")


def _speed(profile: Profile) -> float:
    return profile.training.images_per_second(profile.setup.batch_size)[1] if profile.training else 0.0


def _row(profile: Profile) -> dict[str, str]:
    setup = profile.setup
    head = {"architecture": profile.label, "input": str(setup.spec)}
    if profile.cost is None or profile.training is None or profile.inference is None:
        return {**head, "note": profile.reason or ""}
    mfu, cost = profile.utilisation(), profile.cost
    return {
        **head,
        "params (M)": f"{cost.parameters / 1e6:.2f}",
        "without train-only (M)": f"{(cost.parameters - cost.train_only_parameters) / 1e6:.2f}",
        "GMACs": f"{cost.macs_per_image / 1e9:.4g}",
        "train img/s": _quartiles(profile.training, setup.batch_size),
        "infer img/s": _quartiles(profile.inference, setup.batch_size),
        "train MiB": _mebibytes(profile.training.peak),
        "infer MiB": _mebibytes(profile.inference.peak),
        "first steps (s)": f"{profile.inference.first_seconds + profile.training.first_seconds:.1f}",
        "MFU": f"{mfu:.1%}" if mfu is not None else "",
        "note": "",
    }


def _quartiles(phase: Phase, batch_size: int) -> str:
    low, middle, high = phase.images_per_second(batch_size)
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def _mebibytes(peak: PeakMemory) -> str:
    most = peak.resident if peak.allocated is None else peak.allocated
    return "" if most is None else f"{math.ceil(most / 2**20)}"


def write_profile(profile: Profile, folder: Path) -> Path:
    """Write one profile as JSON, atomically, under a name that says what it is of and how it was taken."""
    name = "".join(c if c.isalnum() or c in "._=" else "-" for c in profile.label)
    spec = profile.setup.spec
    shape = f"{spec.resolution}x{spec.resolution}x{spec.channels}-{digest(asdict(spec), 4)}"
    path = folder / f"{name}-{shape}-{profile.setup.mode}{PROFILE_SUFFIX}"
    write_text(path, profile.model_dump_json(indent=1) + "\n")
    return path


def read_profile(path: Path) -> Profile:
    """Read and check a profile; `BadFile` names the file and the field."""
    return read_checked(Profile, path)
