"""Architectures timed one after the other, each in a clean process, in a random order that can be repeated.

Imports no torch: `stopwatch.py` does, in those processes.
"""

from __future__ import annotations

import pkgutil
import random
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from .components import DenoiserSpec, Selection
from .errors import BadValue, DitbenchError
from .executors import Worker, answer_of
from .plan import check_device, select
from .profile import How, Profile, Setup, Turn
from .registry import Registry
from .track import Track


@dataclass(frozen=True)
class Task:
    """One denoiser to time: its architecture as the command line spells it, how, and when."""

    label: str
    setup: Setup
    turn: Turn


def plan_profiles(
    selections: Sequence[Selection], how: How, seed: int, track: Track | None, changes: Mapping[str, Any]
) -> list[Task]:
    """Every network is built once without memory, and the device looked for; then the order is drawn.

    Each gets the input that its size was made for, with `changes`, or the track's. Raises the first
    `DitbenchError`.
    """
    check_device(how.device)
    labels = [selection.label for selection in selections]
    for label in labels:
        if labels.count(label) > 1:
            raise BadValue(f"Architecture {label!r} stands twice.")
    if track and changes:
        raise BadValue(f"Track {track.name!r} has an input of its own; leave out {', '.join(changes)}, or the track.")
    specs = [] if track else [selection.spec(changes) for selection in selections]
    specs, device = answer_of(_serve_check, (labels, specs, track, how.device))
    source = f"{track.name} v{track.version} {track.hash}" if track else None
    common = {**dict(how), "device": device, "track": source}
    pairs = sorted(zip(labels, specs, strict=True), key=lambda pair: pair[0])  # what was typed first doesn't matter
    random.Random(seed).shuffle(pairs)
    return [
        Task(label, Setup(**common, spec=spec), Turn(seed=seed, position=position, of=len(pairs)))
        for position, (label, spec) in enumerate(pairs)
    ]


def run_profiles(tasks: Sequence[Task]) -> Iterator[Profile]:
    """Time them in turn. Whatever happens to a process, there is a profile, if only with the reason.

    Ctrl-C stops the one that is being timed; those before it have been yielded.
    """
    for task in tasks:
        answers: list[Profile] = []
        worker = _Expendable(_serve, task)
        interrupted = worker.listen(answers.append)
        found = answers[0] if answers else _failed(task, worker.how_it_ended)
        if not (interrupted and found.reason):
            yield found
        if interrupted:
            raise KeyboardInterrupt


class _Expendable(Worker):
    """A process without anything to save: the first Ctrl-C kills it, as otherwise the second would."""

    def _stop(self, presses: int) -> None:
        super()._stop(presses + 1)


def _failed(task: Task, reason: str) -> Profile:
    return Profile(label=task.label, setup=task.setup, turn=task.turn, reason=reason)


def _serve_check(outbox: Connection, asked: tuple[list[str], list[DenoiserSpec], Track | None, str]) -> None:
    """In a process of its own: inputs and device, or the user's mistake."""
    labels, specs, track, device = asked
    registry = Registry.installed()
    try:
        if track:
            specs = [pkgutil.resolve_name("ditbench.bench:spec_of")(track, registry)] * len(labels)
        selections = [select(registry, label) for label in labels]
        _answer(outbox, (specs, pkgutil.resolve_name("ditbench.stopwatch:check")(selections, specs, device)))
    except DitbenchError as error:
        _answer(outbox, error)


def _serve(outbox: Connection, task: Task) -> None:
    """In a process of its own: time, and answer with the profile, or with one that says why there is none."""
    try:
        selection = select(Registry.installed(), task.label)
        _answer(outbox, pkgutil.resolve_name("ditbench.stopwatch:profile")(selection, task.setup, task.turn))
    except Exception as error:
        traceback.print_exc()
        _answer(outbox, _failed(task, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))


def _answer(outbox: Connection, answer: Any) -> None:
    with suppress(BrokenPipeError):  # whoever asked is gone
        outbox.send(answer)
