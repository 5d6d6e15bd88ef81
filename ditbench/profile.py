"""What a denoiser costs in time and memory: the plan, the record, and the table. `stopwatch.py` measures.

Imports no torch: each denoiser is timed in a clean process of its own.
"""

from __future__ import annotations

import math
import pkgutil
import random
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Literal

import pandas as pd
import pydantic
from pydantic import Field

from .components import DenoiserSpec, Selection
from .errors import BadFile, DitbenchError
from .executors import Worker
from .plan import select
from .record import Cost, Environment, PeakMemory
from .registry import Registry
from .storage import write_text
from .track import Frozen, first_fault

PEAKS_VERSION = "2026-11"
# Dense peaks in FLOP/s as the vendors' data sheets state them. float32 is without TF32, as torch's default is.
PEAKS: dict[str, dict[str, float]] = {
    "NVIDIA H100 80GB HBM3": {"bfloat16": 989.4e12, "float32": 66.9e12},
    "NVIDIA H200": {"bfloat16": 989.4e12, "float32": 66.9e12},
    "NVIDIA A100-SXM4-40GB": {"bfloat16": 312e12, "float32": 19.5e12},
    "NVIDIA A100-SXM4-80GB": {"bfloat16": 312e12, "float32": 19.5e12},
}
Positive = Annotated[int, Field(gt=0)]


class Setup(Frozen):
    """How to time: the same for every denoiser of a table."""

    spec: DenoiserSpec
    batch_size: Positive
    steps: Annotated[int, Field(ge=4)]  # timed; quartiles need some
    warmup: Annotated[int, Field(ge=0)]  # not timed, besides the first
    precision: Literal["float32", "bfloat16"]
    compile: bool
    device: str


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
    cost: Cost | None = None
    inference: Phase | None = None
    training: Phase | None = None
    reason: str | None = None

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Profile:
        measured = None not in (self.environment, self.cost, self.inference, self.training)
        if measured == bool(self.reason):
            raise ValueError("a profile has either all of its measurements or a reason")
        return self

    def utilisation(self) -> float | None:
        """MFU: the model's FLOPs in training, recomputation included, over the device's dense peak."""
        if self.training is None or self.cost is None or self.environment is None:
            return None
        peak = PEAKS.get(self.environment.gpu or "", {}).get(self.setup.precision)
        flops = 2 * self.cost.training_macs_per_image * self.setup.batch_size
        return flops / median(self.training.step_seconds) / peak if peak else None


def run_profiles(selections: Sequence[Selection], setups: Sequence[Setup], seed: int = 0) -> Iterator[Profile]:
    """Time each selection in a clean process, in an order drawn from `seed`, so that no one always comes first."""
    tasks = list(zip(selections, setups, strict=True))
    random.Random(seed).shuffle(tasks)
    for selection, setup in tasks:
        answers: list[Profile] = []
        worker = Worker(serve, (selection.label, setup))
        if worker.listen(answers.append):
            raise KeyboardInterrupt
        died = Profile(label=selection.label, setup=setup, reason=f"its process ended with exit code {worker.exitcode}")
        yield answers[0] if answers else died


def serve(outbox: Connection, task: tuple[str, Setup]) -> None:
    """In a process of its own: time, and answer with the profile, or with one that says why there is none."""
    label, setup = task
    try:
        selection = select(Registry.installed(), label)
        outbox.send(pkgutil.resolve_name("ditbench.stopwatch:profile")(selection, setup))
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        reason = text if isinstance(error, DitbenchError) else f"{type(error).__name__}: {text}"
        outbox.send(Profile(label=label, setup=setup, reason=reason))


def table(profiles: Sequence[Profile]) -> pd.DataFrame:
    """One row per profile, by training speed; what failed comes last with its reason."""
    ranked = sorted(profiles, key=lambda p: (p.training is None, -_speed(p), p.label))
    frame = pd.DataFrame([_row(profile) for profile in ranked]).fillna("")
    return frame.loc[:, (frame != "").any()]  # on an unknown device, no MFU; without failures, no notes


def write_table(frame: pd.DataFrame, setup: Setup, folder: Path) -> None:
    """The table as Markdown, with how it was timed."""
    mode = f"batch {setup.batch_size}, {setup.precision}, {'compiled' if setup.compile else 'eager'}, {setup.device}"
    text = f"# Profile: {mode}\n\n{frame.to_markdown(index=False)}\n\nMedian over {setup.steps} steps (quartiles).\n"
    write_text(folder / "profile.md", text)


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
        "GFLOPs": f"{2 * cost.macs_per_image / 1e9:.3g}",
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
    """Write one profile as JSON, atomically, under a name that says what it is of."""
    name = "".join(c if c.isalnum() or c in "._=" else "-" for c in profile.label)
    setup = profile.setup
    mode = f"b{setup.batch_size}-{setup.precision}{'-compiled' if setup.compile else ''}"
    path = folder / f"{name}-{mode}.json"
    write_text(path, profile.model_dump_json(indent=1) + "\n")
    return path


def read_profile(path: Path) -> Profile:
    """Read and check a profile; `BadFile` names the file and the field."""
    try:
        return Profile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"The profile {str(path)!r} can't be read: {error}.") from None
    except pydantic.ValidationError as error:
        raise BadFile(f"The profile {str(path)!r} is wrong: {first_fault(error)}.") from None
