"""What a person sees of runs: a live display in a terminal, plain lines elsewhere, and the tables at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

import rich.progress
from rich.console import Console, RenderableType
from rich.progress import BarColumn, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from ..components import Extractor
from ..errors import for_a_line
from ..executors.jobs import Job
from ..executors.listeners import Silent
from ..leaderboard.boards import Board, boards
from ..leaderboard.notes import beside_others, floor, memorising, provisional, saturated, searched, ties, unranked
from ..leaderboard.speedrun import counts
from ..leaderboard.tables import Column, columns
from ..records.record import Record
from ..registry import Plugin
from ..runtime.progress import Progress, Stage
from ..tracks.config import RunConfig
from .console import make_table, plain
from .options import as_flags
from .output import count, left_out, warn
from .time_left import TimeLeft

_STAGES: dict[Stage, str] = {
    "data": "preparing images",
    "reference": "reading the real images",
    "train": "training",
    "sample": "sampling",
    "measure": "measuring",
}
_SPARE = ("spent", "target", "raw", "train MACs (M)", "params (M)")  # kinds, and headers, of the columns that go first
_LEAST = 4  # columns that are shown in any case
_WIDEST = 10_000  # columns of a terminal in which no table wraps
_LINE_EVERY = 10.0  # seconds between plain lines of one run


class Quiet(Silent):
    """Says only what would cost hours to learn later, on standard error."""

    def left_out(self, faults: Sequence[Plugin]) -> None:
        for plugin in faults:
            warn(f"ditbench: {left_out(plugin)}")

    def passing_over(self, told: str) -> None:
        warn(f"ditbench: {as_flags(told)}")

    def repeating(self, told: str) -> None:
        warn(f"ditbench: {told}")

    def progress(self, config: RunConfig, progress: Progress) -> None:
        if progress.remark:
            warn(f"ditbench: {config.told}: {as_flags(progress.remark)}")


class Lines(Silent):
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._names: dict[str, str] = {}
        self._said: dict[str, tuple[Stage, float]] = {}  # the stage, and when, of each run's last line

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def left_out(self, faults: Sequence[Plugin]) -> None:
        for plugin in faults:
            self.say(left_out(plugin))

    def fetching(self, extractor: Extractor) -> None:
        self.say(f"fetching the weights of {extractor.name} from {extractor.weights.url}")

    def preparing(self) -> None:
        self.say("checking every part of every run (the libraries take about 10 s to load, once)")

    def checking(self, progress: Progress) -> None:
        if self._is_news("", progress):
            self.say(_checked(progress))

    def passing_over(self, told: str) -> None:
        self.say(for_a_line(as_flags(told)))

    def repeating(self, told: str) -> None:
        self.say(told)

    def planned(self, jobs: Sequence[Job], settled: Sequence[Record]) -> None:
        self._names = {
            job.config.run_id: f"[{number}/{len(jobs)}] {job.config.told}" for number, job in enumerate(jobs, start=1)
        }
        config, budgets = jobs[0].config, ", ".join(dict.fromkeys(job.config.budget for job in jobs))
        self.say(
            f"track {config.track.name} v{config.track.version}, budget {budgets}, device {config.device}, "
            f"{count(len(jobs), 'run')} in {jobs[0].directory.parent}"
        )
        for record in settled:
            self.say(f"{self._names[record.run_id]}: {record.status} already (--force starts over)")

    def searched(self, told: str) -> None:
        self.say(told)

    def started(self, config: RunConfig) -> None:
        self._said.pop(config.run_id, None)
        self.say(f"{self._names[config.run_id]}: starting")

    def progress(self, config: RunConfig, progress: Progress) -> None:
        if progress.remark:
            self.say(f"{self._names[config.run_id]}: {as_flags(progress.remark)}")
        elif progress.done == 1 or self._is_news(config.run_id, progress):
            self.say(f"{self._names[config.run_id]}: {_STAGES[progress.stage]} {progress.done:4.0%}  {facts(progress)}")

    def ended(self, record: Record) -> None:
        self.say(f"{self._names[record.run_id]}: {verdict(record)}")

    def _is_news(self, run_id: str, progress: Progress) -> bool:
        """Whether it is worth a line of its own; if so, it is the run's last one. Runs may be told of in turns."""
        stage, at = self._said.get(run_id, ("", 0.0))
        now = time.monotonic()
        if progress.stage == stage and now - at < _LINE_EVERY:
            return False
        self._said[run_id] = progress.stage, now
        return True


class _Bars(rich.progress.Progress):
    """The bars, and below them the time that all runs together have left."""

    whole = TimeLeft(())

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if told := self.whole.told():
            yield Text(told)


class Live(Lines):
    """One bar per run, kept on the screen when it is done; as a plain line above the others if there are many."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = _Bars(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._status = console.status("loading torch and what the track needs (about 10 s, once)")

    def preparing(self) -> None:
        self._status.start()

    def checking(self, progress: Progress) -> None:
        self._status.update(plain(_checked(progress)))

    def planned(self, jobs: Sequence[Job], settled: Sequence[Record]) -> None:
        self._status.stop()
        super().planned(jobs, settled)
        done = {record.run_id for record in settled}
        self.bars.whole = TimeLeft([job.config.run_id for job in jobs if job.config.run_id not in done])
        self.bars.start()

    def started(self, config: RunConfig) -> None:
        name = self._names[config.run_id]
        self._tasks[config.run_id] = self.bars.add_task(name, total=1.0, facts="starting")

    def progress(self, config: RunConfig, progress: Progress) -> None:
        if progress.remark:
            super().progress(config, progress)
        self.bars.whole.heard(config.run_id, progress)
        text = f"{_STAGES[progress.stage]}  {facts(progress)}"
        self.bars.update(self._tasks[config.run_id], completed=progress.done, facts=text)

    def ended(self, record: Record) -> None:
        self.bars.whole.ended(record.run_id)
        task = self._tasks[record.run_id]
        done = {"completed": 1.0} if record.status == "finished" else {}
        self.bars.update(task, facts=verdict(record), **done)  # type: ignore[arg-type]
        self.bars.stop_task(task)
        if len(self.bars.tasks) >= self.console.height - 1:  # there is no room for the bars of those at work
            self.bars.remove_task(task)
            super().ended(record)

    def close(self) -> None:
        """Stop redrawing; what is on the screen stays."""
        self._status.stop()
        self.bars.stop()


def facts(progress: Progress) -> str:
    """Step, images/s, loss and time left, as far as the stage has them."""
    parts = []
    if progress.stage == "train":
        parts.append(f"step {progress.step}")
    if progress.images_per_second is not None:
        parts.append(f"{progress.images_per_second:,.0f} images/s")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4f}")
    if progress.seconds_left is not None and progress.done < 1:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(parts)


def _checked(progress: Progress) -> str:
    """A part of the check that takes long."""
    return f"{_STAGES[progress.stage]}: {progress.step:,} images, {progress.done:.0%}"


def verdict(record: Record) -> str:
    """How a run ended, in one line: its reason, or the metric that ranks."""
    if record.status != "finished":
        return for_a_line(f"{record.status}: {as_flags(record.reason or '')}")
    if not record.metrics:
        return for_a_line(f"finished, not measured: {as_flags(record.left_out[0])}")
    return f"finished  {record.metrics[0].protocol} {record.metrics[0].value:.4g}"


def print_boards(console: Console, records: Sequence[Record]) -> None:
    """The tables of these records; what did not finish, which rows are tied, and the floor, are told below."""
    for board in boards(records):
        console.print(_fitting(console, board))
        notes = [f"{entry.label}: {entry.misses}" for entry in board.rows if entry.misses]
        notes += [*counts(board), *searched(board), unranked(board), provisional(board), *ties(board)]
        notes += [beside_others(board), floor(board), saturated(board), memorising(board)]
        for note in filter(None, notes):
            console.print(plain(as_flags(note)), highlight=False, soft_wrap=True)


def _fitting(console: Console, board: Board) -> Table:
    """The board with the columns that this console has room and need for; leaderboard.md has them all."""
    found = [column for column in columns(board) if _needed(column, board)]
    stacked = False
    while not _fits(console, shown := _drawn(board, found, stacked)):
        spare = _spare(found, stacked)
        if not spare and stacked:
            return shown
        found, stacked = [column for column in found if column not in spare], stacked or not spare
    return shown


def _spare(found: Sequence[Column], stacked: bool) -> list[Column]:
    """What goes next to make room; nothing: then cells are stacked, and if they are already, all that is left stays."""
    spent = [column for column in found if column.kind in _SPARE]
    if spent or not stacked:
        return spent
    known = next((column for header in _SPARE for column in found if column.header == header), found[-1])
    same = [column for column in found if column.subject == known.subject]  # of every class of hardware
    return same if len(found) > _LEAST else []


def _needed(column: Column, board: Board) -> bool:
    if column.header == "seeds":
        return any(len(entry.records) > 1 for entry in board.rows)
    return column.kind not in ("tier", "status") and any(map(column.text, board.rows))


def _fits(console: Console, shown: Table) -> bool:
    return console.measure(shown, options=console.options.update(width=_WIDEST)).maximum <= console.width


def _drawn(board: Board, found: Sequence[Column], stacked: bool) -> Table:
    """The columns as a table; stacked, cells are on several short lines."""
    shown = make_table(*(_narrow(column.header) for column in found), title=plain(board.title))
    for cells in zip(*(column.texts(board.rows) for column in found), strict=True):
        lines = (re.sub(r" (?=[±(])|(?=\+)", "\n", cell) if stacked else cell for cell in map(plain, cells))
        shown.add_row(*lines)
    return shown


def _narrow(header: str) -> str:
    """A header on several short lines."""
    header = {"rank": "#", "architecture": "archi-tecture"}.get(header, header)
    for mark in ("k/", "-"):
        header = header.replace(mark, mark + "\n")
    return "\n".join(map(plain, re.sub(r" (?![↓↑≤≥\d])", "\n", header).split("\n")))
