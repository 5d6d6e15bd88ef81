"""What a person sees of runs: a live display in a terminal, plain lines elsewhere, and the tables at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn

from .campaign import Silent
from .console import make_table, plain
from .executors import Job
from .leaderboard import boards, entries, table
from .record import Record
from .track import RunConfig

_STAGES = {"train": "training", "sample": "sampling", "measure": "measuring"}
_LINE_EVERY = 10.0  # seconds between plain lines of one run


class Lines(Silent):
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._names: dict[str, str] = {}
        self._stage, self._last = "", 0.0

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def preparing(self) -> None:
        self.say("checking every part of every run (the libraries take about 15 s to load, once)")

    def planned(self, jobs: Sequence[Job], finished: Sequence[Record]) -> None:
        self._names = {
            job.config.run_id: f"[{number}/{len(jobs)}] {job.config.label} seed {job.config.seed}"
            for number, job in enumerate(jobs, start=1)
        }
        config = jobs[0].config
        self.say(
            f"track {config.track.name} v{config.track.version}, budget {config.budget}, device {config.device}, "
            f"{len(jobs)} runs in {jobs[0].directory.parent}"
        )
        for record in finished:
            self.say(f"{self._names[record.run_id]}: {record.status} already (--force starts over)")

    def started(self, config: RunConfig) -> None:
        self._stage, self._last = "", 0.0
        self.say(f"{self._names[config.run_id]}: starting")

    def progress(self, config: RunConfig, progress: Any) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and progress.done < 1 and now - self._last < _LINE_EVERY:
            return
        self._stage, self._last = progress.stage, now
        self.say(f"{self._names[config.run_id]}: {_STAGES[progress.stage]} {progress.done:4.0%}  {facts(progress)}")

    def ended(self, record: Record) -> None:
        self.say(f"{self._names[record.run_id]}: {verdict(record)}")


class Live(Lines):
    """One bar per run, kept on the screen when it is done."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._status = console.status("loading torch, diffusers and torchmetrics (about 15 s, once)")

    def preparing(self) -> None:
        self._status.start()

    def planned(self, jobs: Sequence[Job], finished: Sequence[Record]) -> None:
        self._status.stop()
        super().planned(jobs, finished)
        self.bars.start()

    def started(self, config: RunConfig) -> None:
        name = self._names[config.run_id]
        self._tasks[config.run_id] = self.bars.add_task(name, total=1.0, facts="starting")

    def progress(self, config: RunConfig, progress: Any) -> None:
        text = f"{_STAGES[progress.stage]}  {facts(progress)}"
        self.bars.update(self._tasks[config.run_id], completed=progress.done, facts=text)

    def ended(self, record: Record) -> None:
        task = self._tasks[record.run_id]
        done = {"completed": 1.0} if record.status == "finished" else {}
        self.bars.update(task, facts=verdict(record), **done)  # type: ignore[arg-type]
        self.bars.stop_task(task)

    def close(self) -> None:
        """Stop redrawing; what is on the screen stays."""
        self._status.stop()
        self.bars.stop()


def facts(progress: Any) -> str:
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


def verdict(record: Record) -> str:
    """How a run ended, in one line: its reason, or the metric that ranks."""
    if record.status != "finished":
        return f"{record.status}: {record.reason}"
    return f"finished  {record.metrics[0].protocol} {record.metrics[0].value:.4g}"


def print_boards(console: Console, records: Sequence[Record]) -> None:
    """The tables of these records; what did not finish is told below them."""
    for board in boards(records):
        frame = table(board)
        unfinished = [entry for entry in entries(board) if entry.status != "finished"]
        hidden = ["status"] if len({len(entry.records) for entry in entries(board)} | {1}) > 1 else ["status", "seeds"]
        frame = frame.drop(columns=hidden)
        shown = make_table(*(_narrow(str(column)) for column in frame.columns), title=plain(board.title))
        for row in frame.itertuples(index=False):
            shown.add_row(*map(plain, row))
        console.print(shown)
        for entry in unfinished:
            console.print(f"{plain(entry.label)}: {plain(entry.status)}", highlight=False, soft_wrap=True)


def _narrow(header: str) -> str:
    """A header on several short lines."""
    header = {"rank": "#", "architecture": "archi-tecture"}.get(header, header)
    for mark in ("k/", "-"):
        header = header.replace(mark, mark + "\n")
    return plain(header.replace(" ", "\n").replace("\n↓", " ↓").replace("\n↑", " ↑"))
