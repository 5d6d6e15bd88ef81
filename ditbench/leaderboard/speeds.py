"""How fast a board's networks are, measured alone: by profiles of the same network, track, batch and hardware.

A run's own rates rank nothing: other runs may have been at work beside it, and its data and checkpoints are in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..records.profile import Phase, Profile
from ..records.record import Record
from .boards import Board, Row
from .intervals import Estimate


@dataclass(frozen=True)
class Rate:
    """Images per second of one kind of step, by a row's profile."""

    key: str
    header: str
    phase: Callable[[Profile], Phase | None]
    steps: Callable[[Record], int]  # that an image takes
    scale: float = 1.0

    def of(self, row: Row) -> float | None:
        """None: nobody has timed the row's network alone."""
        phase = self.phase(row.profile) if row.profile else None
        if row.profile is None or phase is None:
            return None
        return phase.images_per_second(row.profile.setup.images)[1] / self.steps(row.finished[0])

    def estimate(self, row: Row) -> Estimate | None:
        """The same as a cost is told: one number, the median of the timed steps."""
        found = self.of(row)
        return None if found is None else Estimate((found,))


def _evaluations(record: Record) -> int:
    assert record.sampling is not None  # of a finished run
    return record.sampling.evaluations


TRAINING = Rate("training_images_per_second", "train img/s", lambda profile: profile.training, lambda record: 1)
SAMPLING = Rate("sampling_images_per_second", "sample img/s", lambda profile: profile.sampling, _evaluations)
RATES = (TRAINING, SAMPLING)


def with_profiles(boards: Iterable[Board], profiles: Iterable[Profile]) -> list[Board]:
    """The boards with the newest profile of each row that has one."""
    newest = sorted((one for one in profiles if not one.reason), key=lambda one: one.created, reverse=True)
    return [replace(board, rows=tuple(_profiled(row, newest) for row in board.rows)) for board in boards]


def _profiled(row: Row, profiles: Sequence[Profile]) -> Row:
    return replace(row, profile=next((one for one in profiles if any(_is_of(one, run) for run in row.finished)), None))


def _is_of(profile: Profile, run: Record) -> bool:
    """Whether a profile timed what a run trained and sampled, on such a machine."""
    ours, theirs, setup, training = profile.architecture, run.architecture, profile.setup, run.training
    assert training is not None and profile.environment is not None
    network = (ours.label, ours.distribution, ours.settings, ours.source_sha256)
    return (
        network == (theirs.label, theirs.distribution, theirs.settings, theirs.source_sha256)
        and setup.track == f"{run.track.name} v{run.track.version} {run.track_hash}"
        and (setup.objective, setup.sampler) == (run.objective, run.track.sampler)
        and setup.batch_size == run.recipe.batch_size
        and (setup.precision, setup.compile) == (training.precision, training.compiled)
        and run.recipe.compile != "on"  # the network whole, which no profile has
        and run.hardware == profile.environment.hardware
    )


def speeds(board: Board) -> str:
    """When the speeds were measured, which rows have none, and how to measure them; empty: the board has none."""
    timed = [row.profile for row in board.rows if row.profile]
    if not timed:
        return ""
    days = sorted({profile.created.date().isoformat() for profile in timed})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    commands = len({(profile.turn.seed, profile.turn.of) for profile in timed})
    how = "in one command" if commands == 1 else f"in {commands} commands, so compare with care"
    told = f"Images per second were measured alone, {when}, {how}."
    return f"{told} {_remedy(board)}" if any(row.finished and row.profile is None for row in board.rows) else told


def _remedy(board: Board) -> str:
    compiled = any(run.training and run.training.compiled for run in board.records)
    flags = f"--track {board.protocol.track} --real-loss{' --compile' if compiled else ''}"
    return (
        f"Those of a dash were not: `ditbench profile ARCHITECTURES {flags}`, with the architectures of all rows, does "
        "it on such a machine, and `ditbench records submit profiles` puts it here."
    )
