"""The boards in an answer: ranks and the numbers that make them. `leaderboard.json` has all that is known of a row."""

from __future__ import annotations

from collections.abc import Sequence

from ...leaderboard.boards import Board, Row
from ...leaderboard.costs import FACTS
from ...leaderboard.export import interval
from ...leaderboard.tables import measurements
from . import Answer


class Interval(Answer):
    """A mean over seeds and its 95 % interval, which takes two seeds."""

    mean: float
    low: float | None
    high: float | None


class BoardRow(Answer):
    """An architecture on a board."""

    rank: int | None
    """Null: it is not ranked; `status`, or the board's `unranked_because`, says why."""
    tied: bool
    """Whether others have that rank."""
    architecture: str
    hardware: str
    status: str
    """finished, or runs that did not finish, seeds that are missing."""
    seeds: list[int]
    run_ids: list[str]
    quality: dict[str, Interval]
    """By a metric's full name; the first ranks."""
    cost: dict[str, float | None]
    """Means over the runs."""


class BoardAnswer(Answer):
    """Runs that may be compared, best first."""

    slug: str
    title: str
    ranks_by: str | None
    """A metric's full name. null: no run has finished."""
    higher_is_better: bool | None
    unranked_because: list[str]
    """How its runs differ from their track; empty: it is ranked."""
    rows: list[BoardRow]


def board_answer(board: Board) -> BoardAnswer:
    """A board with the numbers that matter."""
    first = next(iter(measurements(board)), None)
    return BoardAnswer(
        slug=board.slug,
        title=board.title,
        ranks_by=None if first is None else first.protocol,
        higher_is_better=None if first is None else first.higher_is_better,
        unranked_because=list(board.protocol.deviations),
        rows=[_row(row) for row in board.rows],
    )


def _row(row: Row) -> BoardRow:
    costs = {fact.key: fact.estimate(row) for fact in FACTS}
    quality = {protocol: Interval.model_validate(interval(found)) for protocol, found in row.quality.items()}
    return BoardRow(
        rank=row.rank,
        tied=row.tied,
        architecture=row.label,
        hardware=row.hardware,
        status=row.status,
        seeds=sorted(row.seeds),
        run_ids=[record.run_id for record in row.records],
        quality=quality,
        cost={key: None if found is None else found.mean for key, found in costs.items()},
    )


def board_answers(boards: Sequence[Board]) -> list[BoardAnswer]:
    """The same of several."""
    return list(map(board_answer, boards))
