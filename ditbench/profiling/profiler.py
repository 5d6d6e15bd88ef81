"""Architectures timed one after the other, each in a clean process, in a random order that can be repeated.

Imports no torch: `timing.py` does, in those processes.
"""

from __future__ import annotations

import os
import pkgutil
import random
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

from ..asking import end_with_parent
from ..components import Selection
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue, DitbenchError, brief, one_line
from ..records.profile import How, Profile, Setup, Turn
from ..registry import Registry, select
from ..runtime.affinity import Slot
from ..runtime.devices import refuse_absent
from ..runtime.processes import Expendable, answer_of, ended
from ..tracks.architecture import ArchitectureFacts, facts_of
from ..tracks.plan import check_device
from ..tracks.threads import has_one_thread
from ..tracks.track import Track

TIMING, SPEC = "ditbench.profiling.timing", "ditbench.training.spec"  # imported late
PRELOAD = (TIMING, SPEC)  # of the processes that time: torch, about 3 s, once


@dataclass(frozen=True)
class ProfileTask:
    """One denoiser to time: its architecture as the command line spells it, how, and when."""

    architecture: ArchitectureFacts
    setup: Setup
    turn: Turn
    one_thread: bool = False  # as a run of so small a network on the track has

    @property
    def label(self) -> str:
        return self.architecture.label


def plan_profiles(
    registry: Registry,
    selections: Sequence[Selection],
    hows: Sequence[How],
    seed: int,
    track: Track | None,
    changes: Mapping[str, Any],
) -> list[ProfileTask]:
    """Every network is built once without memory, and the device looked for; then the order is drawn.

    Each gets the input that its size was made for, with `changes`, or the track's, and is timed in each of the ways,
    which differ in their batches alone; on a CPU with the threads that a run of the track has. Raises the first
    `DitbenchError`.
    """
    largest = max(hows, key=lambda how: how.batch_size)
    check_device(largest.device)
    refuse_absent(largest.device)
    if largest.device == "mps":
        raise BadValue(
            "Profiles are of CPUs and CUDA's GPUs: device 'mps' tells neither its peaks nor when it has ended."
        )
    labels = [selection.label for selection in selections]
    for label in labels:
        if labels.count(label) > 1:
            raise BadValue(f"Architecture {label!r} stands twice.")
    if track and changes:
        raise BadValue(f"Track {track.name!r} has an input of its own; leave out {', '.join(changes)}, or the track.")
    specs = [] if track else [selection.spec(changes) for selection in selections]
    specs, device, precision, macs = answer_of(_serve_check, (labels, specs, track, largest), preload=PRELOAD)
    source = f"{track.name} v{track.version} {track.hash}" if track else None
    found = {"device": device, "precision": precision, "track": source}
    setups = [
        (selection, Setup(**{**dict(how), **found}, spec=spec), has_one_thread(of_image and of_image * how.batch_size))
        for selection, spec, of_image in zip(selections, specs, macs, strict=True)
        for how in hows
    ]
    setups.sort(key=lambda one: (one[0].label, one[1].batch_size))  # however they were typed
    random.Random(seed).shuffle(setups)
    return [
        ProfileTask(facts_of(selection, registry), setup, Turn(seed=seed, position=position, of=len(setups)), small)
        for position, (selection, setup, small) in enumerate(setups)
    ]


class _Limited(Expendable):
    """A process that times one task, and is killed if that takes longer than it may; who listens asks every second."""

    def __init__(self, task: ProfileTask, seconds: float) -> None:
        super().__init__(_serve, task, preload=PRELOAD)
        self._seconds, self._until, self._late = seconds, float("inf"), False

    def start(self) -> None:
        super().start()
        self._until = time.monotonic() + self._seconds

    def pass_on(self) -> bool:
        if time.monotonic() > self._until:
            self._late = True
            self.stop(1)
        return super().pass_on()

    @property
    def how_it_ended(self) -> str:
        return f"stopped, as it took longer than `seconds` {self._seconds:g}" if self._late else super().how_it_ended


def run_profiles(tasks: Sequence[ProfileTask], seconds: float = float("inf")) -> Iterator[Profile]:
    """Time them in turn, each in so many seconds. Whatever happens to a process, there is a profile, if only with the
    reason.

    Ctrl-C stops the one that is being timed; those before it have been yielded.
    """
    for worker in ended(_Limited(task, seconds) for task in tasks):
        found = worker.answers[0] if worker.answers else _failed(worker.task, worker.how_it_ended)
        if not (worker.interrupted and found.reason):
            yield found


def _failed(task: ProfileTask, reason: str) -> Profile:
    created = datetime.now(UTC).replace(microsecond=0)
    told = brief(one_line(reason))
    return Profile(created=created, architecture=task.architecture, setup=task.setup, turn=task.turn, reason=told)


def _serve_check(outbox: Connection, asked: tuple[list[str], list[DenoiserSpec], Track | None, How]) -> None:
    """In a process of its own: inputs, device and precision, or the user's mistake."""
    end_with_parent()
    labels, specs, track, how = asked
    registry = Registry.installed()
    try:
        if track:
            specs = [pkgutil.resolve_name(f"{SPEC}:spec_of")(track, registry)] * len(labels)
        selections = [select(registry, label) for label in labels]
        _answer(outbox, (specs, *pkgutil.resolve_name(f"{TIMING}:check")(selections, specs, how, track is not None)))
    except DitbenchError as error:
        _answer(outbox, error)


def _serve(outbox: Connection, task: ProfileTask) -> None:
    """In a process of its own: time, and answer with the profile, or with one that says why there is none."""
    end_with_parent()
    if task.one_thread:
        Slot().take(on_gpu=False, processes=1, threads=1)
    try:
        registry = Registry.installed()
        profile = pkgutil.resolve_name(f"{TIMING}:profile")
        _answer(outbox, profile(registry, select(registry, task.label), task.architecture, task.setup, task.turn))
    except Exception as error:
        traceback.print_exc()
        _answer(outbox, _failed(task, f"{type(error).__name__}: {one_line(error)}"))
    sys.stderr.flush()
    os._exit(0)  # whatever threads the network has started


def _answer(outbox: Connection, answer: Any) -> None:
    with suppress(BrokenPipeError):  # whoever asked is gone
        outbox.send(answer)
