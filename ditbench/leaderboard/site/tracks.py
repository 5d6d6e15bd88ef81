"""The page of a track: per board a table, what its seeds allow to be said, plots, and samples side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...records.record import Record
from .. import notes
from ..boards import Board, Row
from ..intervals import Estimate, Pair
from ..remarks import starred
from ..reported import remarks, reported_tables
from ..speeds import speeds
from ..tables import Column, columns, measurements, name, number, quality_header, target
from . import guidance
from .contents import Contents, Run, architecture_page, key_of, variants
from .errors import by_level, on_the_way
from .pictures import Picture
from .plots import Chart, learning, losses, pareto

_LAST = 1e308  # where a cell without a number sorts
_ALL_PAIRS = 12  # rows; of more rows, only neighbours are told


@dataclass(frozen=True)
class Heading:
    """The head of a column."""

    text: str
    kind: str
    numeric: bool
    descending: bool  # whether the first click sorts the largest to the top
    ranks: bool = False  # whether it is the metric that ranks

    @property
    def short(self) -> bool:
        """Whether the first page shows it, too."""
        return self.ranks or self.text in ("rank", "architecture", "seeds")

    @property
    def classes(self) -> str:
        """Which columns stay in sight where the table is wider than the screen, and which hold numbers."""
        told = {"name": self.text == "architecture", "key": self.ranks, "num": self.numeric}
        return " ".join(name for name, holds in told.items() if holds)


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number or text that it sorts by."""

    heading: Heading
    text: str
    order: float | str


@dataclass(frozen=True)
class Line:
    """A row of a table."""

    row: Row
    name: str
    style: int
    variant: int
    href: str  # of its architecture
    runs: Sequence[Run]
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Verdict:
    """What the seeds say of two rows."""

    one: str
    other: str
    seeds: int
    difference: str
    p: str
    divided: bool  # whether they have different ranks


@dataclass(frozen=True)
class BoardView:
    """All that a page shows of a board."""

    board: Board
    headings: Sequence[Heading]
    lines: Sequence[Line]
    verdict: str
    target: str
    notes: Sequence[str]
    verdicts: Sequence[Verdict]
    all_pairs: bool
    seed: int | None  # of the samples
    samples: Sequence[tuple[Line, Run, Picture]]
    provenance: Sequence[tuple[str, str]]


def view(contents: Contents, board: Board) -> BoardView:
    """A board as its page shows it."""
    headed = [(column, _heading(column, board)) for column in _in_order(columns(board))]
    lines = [
        _line(contents, board, row, variant, headed) for row, variant in zip(board.rows, variants(board), strict=True)
    ]
    seed, samples = _samples(contents, lines)
    return BoardView(
        board,
        [heading for _, heading in headed],
        lines,
        verdict(board),
        target(board),
        list(_notes(board)),
        [_verdict(board, pair) for pair in _told(board)],
        len(board.comparable) <= _ALL_PAIRS,
        seed,
        samples,
        list(_provenance(board)),
    )


def _in_order(found: Sequence[Column]) -> list[Column]:
    """The metric that ranks beside the name, so that a phone shows both."""
    first = [column for column in found if column.kind == "quality"][:1]
    names = [column for column in found if column.subject in ("rank", "architecture")]
    return [*names, *first, *(column for column in found if column not in (*names, *first))]


def verdict(board: Board) -> str:
    """The board in a sentence: who is first, and whether that can be said."""
    if not board.ranked:
        return notes.unranked(board)
    first = [name(row, board) for row in board.comparable if row.rank == 1]
    if not first:
        return notes.provisional(board) or "No row has all of its seeds."
    if len(first) == 1 and len(board.comparable) == 1:
        return f"{first[0]} is the only ranked row without a failed run."
    if len(first) == 1:
        which = "row" if len(board.comparable) == len(board.rows) else "ranked row whose runs all finished"
        return f"{first[0]} is significantly better than every other {which} (paired t-tests, p ≤ {board.level:.2g})."
    return f"{', '.join(first[:-1])} and {first[-1]} share the first rank: no test tells all of them apart."


def _heading(column: Column, board: Board) -> Heading:
    numeric = any(isinstance(column.cell(row), Estimate) for row in board.rows)
    of = measurements(board)[:1]
    ranks = column.kind == "quality" and column.header in map(quality_header, of)
    return Heading(column.header, column.kind, numeric, column.higher_is_better, ranks)


def _line(contents: Contents, board: Board, row: Row, variant: int, headed: Sequence[tuple[Column, Heading]]) -> Line:
    return Line(
        row,
        name(row, board),
        contents.style(row),
        variant,
        architecture_page(key_of(row)),
        contents.runs_of(row),
        [Cell(heading, column.text(row), _order(column, heading, row)) for column, heading in headed],
    )


def _order(column: Column, heading: Heading, row: Row) -> float | str:
    """What a cell sorts by: without a number, last when the best is first."""
    cell = column.cell(row)
    if isinstance(cell, Estimate):
        return cell.mean
    if column.header == "rank":
        return row.rank or _LAST
    if column.header == "seeds":
        return len(row.finished)
    return (-_LAST if heading.descending else _LAST) if heading.numeric else column.text(row)


def _notes(board: Board) -> Iterator[str]:
    yield from (note for note in (notes.provisional(board), *notes.ties(board)) if note and note != verdict(board))
    yield from filter(None, (*notes.searched(board), notes.outside(board), *starred(board), *notes.checked(board)))
    yield from filter(
        None, (notes.floor(board), notes.saturated(board), notes.memorising(board), *notes.of_values(board))
    )
    yield from filter(None, (notes.beside_others(board), speeds(board), notes.noise(board)))
    if len(board.hardware) > 1:
        yield "Speed and memory of different hardware do not compare, so each kind of hardware has its own columns."


def _told(board: Board) -> list[Pair]:
    """The pairs to tell: of many rows, only those next to each other."""
    if len(board.comparable) <= _ALL_PAIRS:
        return board.pairs
    return [pair for pair in board.pairs if pair.other == pair.one + 1]


def _verdict(board: Board, pair: Pair) -> Verdict:
    one, other = (name(board.comparable[place], board) for place in (pair.one, pair.other))
    difference = "" if pair.difference is None else number(pair.difference).replace("-", "−")
    p = "< 0.0001" if pair.p < 1e-4 else f"{pair.p:.2g}"
    return Verdict(one, other, len(pair.seeds), difference, p, board.divides(pair))


_MOST_LINES = 60  # of one plot


def charts(contents: Contents, board: Board) -> dict[str, Chart]:
    """The plots that a board's records allow, by kind."""
    runs = [run for row in board.rows for run in contents.runs_of(row)]
    if len(runs) > _MOST_LINES:
        runs = [contents.runs_of(row)[0] for row in board.rows]
    found = {
        "errors": by_level(contents, board),
        "way": on_the_way(contents, board),
        "learning": learning(contents, board),
        "loss": losses(contents, board, runs),
        "pareto": pareto(contents, board),
        "guidance": guidance.of_board(contents, board),
    }
    return {kind: chart for kind, chart in found.items() if chart}


def _samples(contents: Contents, lines: Sequence[Line]) -> tuple[int | None, list[tuple[Line, Run, Picture]]]:
    """The pictures of one seed, the one that most rows have."""
    pictured = [
        (line, run, contents.pictures[run.record.run_id])
        for line in lines
        for run in line.runs
        if run.record.run_id in contents.pictures
    ]
    seeds = Counter(run.record.seed for _, run, _ in pictured)
    seed = min(seeds, key=lambda seed: (-seeds[seed], seed), default=None)
    return seed, [found for found in pictured if found[1].record.seed == seed]


def _provenance(board: Board) -> Iterator[tuple[str, str]]:
    """Where the numbers come from, as the records say."""
    of = board.protocol
    machines = [record.environment for record in board.records if record.environment]
    yield "track hash", of.track_hash
    yield "data", of.data
    yield "compared with", of.reference
    yield "metric that ranks", measurements(board)[0].protocol if measurements(board) else "none"
    yield "hardware", "; ".join(board.hardware)
    yield "code", ", ".join(sorted({of.git_commit or "unknown" for of in machines})) or "unknown"
    yield "torch", ", ".join(sorted({of.torch for of in machines})) or "unknown"
    yield "runs", str(len(board.records))


@dataclass(frozen=True)
class Published:
    """What papers print of a track, as text: in no board, and without rank."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str]


def published(contents: Contents, track: str) -> Published | None:
    """The published numbers of a track, beside what was measured here; None if there are none."""
    frame = reported_tables(contents.reported).get(track)
    if frame is None:
        return None
    return Published(list(frame.columns), frame.to_numpy().tolist(), remarks(contents.reported, track))


def protocol(record: Record) -> list[tuple[str, str]]:
    """A track's protocol in a few lines, as a record has it."""
    track = record.track
    data, recipe, sampler, evaluation = track.data, track.recipe, track.sampler, track.evaluation
    settings = "".join(f", {name} {value}" for name, value in sampler.settings.items())
    guidance = f", guidance {sampler.guidance.scale:g}" if sampler.guidance else ", no guidance"
    budgets = ", ".join(f"{named} {spelled}" for named, spelled in track.budgets.items())
    computed = "" if evaluation.precision == "float32" else f", decoded and seen in {evaluation.precision}"
    return [
        ("data", f"{data.dataset}, {data.resolution}×{data.resolution}, {track.space} space"),
        ("objective", track.objective.name),
        (
            "recipe",
            f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}, batch {recipe.batch_size}",
        ),
        ("sampler", f"{sampler.name}, {sampler.steps} steps{settings}{guidance}"),
        ("measured on", f"{evaluation.samples:,} samples, {evaluation.labels} labels{computed}"),
        ("metrics", ", ".join(evaluation.metrics) + f" with {evaluation.features}"),
        ("budgets", budgets or track.budget),
    ]
