"""Runs that are killed again and again: where, with what, and what must be left in the end."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ditbench.records.record import Record, read_record, read_records, read_runs

PHASES = ("training", "writing", "sampling", "measuring")
TARGETS = ("group", "worker", "parent")
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)
_IGNORED = 1.5  # seconds: who lives longer after SIGPIPE, which Python ignores, goes on with its work
_END = 60.0  # seconds that a command may take to end when it was asked to
_REACH = 120.0  # seconds that it may take to the phase that is aimed at
_SAID = re.compile(r": (training|sampling|measuring) ")


@dataclass(frozen=True)
class Kill:
    """What is sent to whom in which phase."""

    phase: str
    target: str
    signal: signal.Signals


@dataclass
class Tally:
    """What was hit, and what was wrong."""

    hits: Counter[Kill] = field(default_factory=Counter)
    ignored: Counter[Kill] = field(default_factory=Counter)
    missed: list[Kill] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Of all kills that hit."""
        return sum(self.hits.values())

    def lines(self) -> Iterator[str]:
        """The table: a row for each phase and target, a column for each signal; in brackets, what was ignored."""
        yield f"{'kills':20}" + "".join(f"{one.name[3:]:>8}" for one in SIGNALS) + f"{'all':>8}"
        for phase, target in itertools.product(PHASES, TARGETS):
            row = [Kill(phase, target, one) for one in SIGNALS]
            cells = [f"{self.hits[kill]}{f'({self.ignored[kill]})' if self.ignored[kill] else ''}" for kill in row]
            yield (
                f"{phase + ', ' + target:20}"
                + "".join(f"{cell:>8}" for cell in cells)
                + f"{sum(self.hits[k] for k in row):>8}"
            )
        ignored = sum(self.ignored.values())
        yield f"{self.count} kills hit, {ignored} of them ignored (in brackets); {len(self.missed)} came too late"


def chains(count: int) -> list[list[Kill]]:
    """Lists of kills, in the order in which one run can suffer them; all of each list hit the same run."""
    combinations = list(itertools.product(TARGETS, SIGNALS))
    turning = itertools.cycle(combinations)
    found = []
    for _ in range(count):
        three = sorted(itertools.islice(turning, 3), key=_patience)
        found.append([Kill(phase, target, sent) for phase in PHASES for target, sent in three])
    return found


def _patience(one: tuple[str, signal.Signals]) -> int:
    """Who ends a run at once comes first, who does not at all last."""
    return 0 if one[1] == signal.SIGKILL else 2 if one[1] == signal.SIGPIPE else 1


class Command:
    """`ditbench run` as it is typed, and what it says."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.folder, self.stage, self.said = folder, "", [""]
        more = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ditbench", *arguments],
            env={**os.environ, **more},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if found := _SAID.search(line):
                self.stage = found[1]

    @property
    def phase(self) -> str:
        """What the run is doing: writing, if a file has its temporary name; else what it said last."""
        places = (self.folder, *self.folder.glob("slow-*-seed1-*"), *self.folder.glob("slow-*-seed1-*/checkpoints"))
        writes = any(
            path.name.startswith(".") and path.name.endswith(".tmp") for place in places for path in _listed(place)
        )
        return "writing" if writes and self.stage else self.stage

    def reach(self, phase: str, delay: float) -> bool:
        """Wait until the run is in that phase, and a little longer; False if it ended before."""
        deadline = time.monotonic() + _REACH
        while self.process.poll() is None and time.monotonic() < deadline:
            if phase == (self.phase if phase == "writing" else self.stage):
                time.sleep(0 if phase == "writing" else delay)
                return self.process.poll() is None
            time.sleep(0.002)
        return False

    def hit(self, kill: Kill) -> str:
        """Send the signal; the phase that the run was in."""
        worker, phase = self._worker() if kill.target == "worker" else 0, self.phase
        if kill.target == "group":
            os.killpg(self.process.pid, kill.signal)
        else:
            os.kill(worker or self.process.pid, kill.signal)
        return phase

    def _worker(self) -> int:
        """The run's process: the youngest below the command that has no child."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        found = [one for one in below if one.status() != psutil.STATUS_ZOMBIE and not one.children()]
        return int(max(found, key=lambda one: one.create_time()).pid)

    def ended(self, seconds: float = _END) -> bool:
        """Whether the command ends in that time, and all that it started."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        deadline = time.monotonic() + seconds
        while self.orphans() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._reader.join(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return not self.orphans()

    def orphans(self) -> list[int]:
        """What lives of the session that the command began."""
        return [pid for pid in psutil.pids() if _session(pid) == self.process.pid and psutil.pid_exists(pid)]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # it is gone
        return []


def _session(pid: int) -> int:
    try:
        return -1 if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE else os.getsid(pid)
    except (OSError, psutil.Error):
        return -1


def suffer(
    chain: list[Kill],
    start: Callable[[], Command],
    check: Callable[[str], None],
    again: Callable[[], None],
    tally: Tally,
) -> Command:
    """One run through all of its kills, each followed by the same command; the last one, which may go on.

    `again`: has a run that ended before it was hit start over, since signals that ask are obeyed between two steps.
    """
    command = start()
    for number, kill in enumerate(chain):
        if command.process.poll() is not None:
            command = start()
        delay = 0.05 * (number % 5)
        if not command.reach(kill.phase, delay):
            assert command.ended()
            again()
            command = start()
            if not command.reach(kill.phase, delay):
                tally.missed.append(kill)
                continue
        hit = Kill(command.hit(kill), kill.target, kill.signal)
        tally.hits[hit] += 1
        if kill.signal == signal.SIGPIPE and not _ends(command, _IGNORED):
            tally.ignored[hit] += 1
            continue
        assert command.ended(), f"after {kill}: still there {command.orphans()}; {''.join(command.said[-5:])}"
        assert "Traceback" not in "".join(command.said), f"after {kill}: {''.join(command.said)}"
        check(str(kill))
    return command if command.process.poll() is None else start()


def _ends(command: Command, seconds: float) -> bool:
    try:
        command.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def nothing_lost(folder: Path, finished: Path, content: bytes) -> Callable[[str], None]:
    """What looks, after a kill, whether the records that were there are, and all others can be read."""

    def check(after: str) -> None:
        assert finished.read_bytes() == content, f"a finished record changed after {after}"
        for record in (*read_runs(folder), *read_records(folder.parent)):
            assert record.status in ("finished", "interrupted"), f"{record.status}: {record.reason} after {after}"

    return check


def differences(whole: Path, parts: Path) -> list[str]:
    """In what a run that was killed is another than the one that was not."""
    one, other = (read_record(folder / "record.json") for folder in (whole, parts))
    found = [
        name
        for name in ("ema.safetensors", "raw.safetensors", "samples.png")
        if (whole / name).read_bytes() != (parts / name).read_bytes()
    ]
    found += [
        f"{name}: {_told(one)[name]} and {_told(other)[name]}"
        for name in _told(one)
        if _told(one)[name] != _told(other)[name]
    ]
    names = [sorted(path.name for path in folder.iterdir()) for folder in (whole, parts)]
    return found + ([] if names[0] == names[1] else [f"files: {names[0]} and {names[1]}"])


def _told(record: Record) -> dict[str, object]:
    """All of a record that the same run has again, to the last bit."""
    assert record.training is not None and record.sampling is not None
    numbers = [(one.protocol, one.value, one.spread, one.raw) for one in (*record.metrics, *record.floors)]
    curve = [(point.step, point.images, point.loss) for point in record.training.curve]
    return {
        "status": record.status,
        "run": record.run_hash,
        "metrics": numbers,
        "files": record.files,
        "curve": curve,
        "steps": record.training.steps,
        "images": record.sampling.images_sha256,
        "loss": record.training.final_loss,
    }
