"""One bad input, what became of it, and whether that was right."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ditbench import cli
from ditbench.errors import DitbenchError

SECONDS = 20.0  # more is a hang
_AGAIN = 3.0  # times as long, on a second try: a busy machine is no hang
_STUCK = 300.0  # seconds after which even a process that hears no signal ends, telling where it was


@dataclass(frozen=True)
class Case:
    """A bad input: what is given, which word the answer must have, and with which exit code it must come."""

    kind: str
    name: str
    command: tuple[str, ...] = ()  # of a folder of the case's own, in which it runs
    culprits: tuple[str, ...] = ()  # one of these must be named
    make: Callable[[Path], object] = lambda folder: None  # fills that folder
    code: int = 2
    call: Callable[[], object] | None = None  # in place of a command: Python's

    @property
    def title(self) -> str:
        """What the case is called, in one printable line."""
        return f"{self.kind}: {self.name}".encode("unicode_escape").decode()[:200]


@dataclass(frozen=True)
class Outcome:
    """How it ended."""

    code: int | None  # None: it hung, or an exception came out
    out: str
    errors: str
    raised: str = ""


class Hang(BaseException):
    """It takes too long."""


def fault_of(case: Case, folder: Path) -> str:
    """What is wrong with how a bad input was met; empty if nothing is."""
    found = _carried_out(case, folder, SECONDS)
    if found.raised == "hangs":
        found = _carried_out(case, folder, SECONDS * _AGAIN)
    return _judged(case, found)


def _judged(case: Case, found: Outcome) -> str:
    if found.raised:
        return found.raised
    if found.code != case.code:
        return f"ended with code {found.code}, not {case.code}: {_short(found.errors or found.out)}"
    lines = found.errors.splitlines()
    if case.code == 2 and (len(lines) != 1 or not found.errors.endswith("\n")):
        return f"{len(lines)} lines, not one: {_short(found.errors or found.out)}"
    if "Traceback" in found.out + found.errors:
        return f"a traceback: {_short(found.out + found.errors)}"
    if any(not line.isprintable() for line in lines) or "\x1b" in found.out:
        return f"obeyed by a terminal: {found.errors!r:.200}"
    said = found.errors if case.code == 2 else found.out + found.errors
    if case.culprits and not any(word in said for word in case.culprits):
        return f"names none of {', '.join(map(repr, case.culprits))}: {_short(said)}"
    return ""


def _short(text: str) -> str:
    return " ".join(text.split())[:400] or "nothing was said"


def _carried_out(case: Case, folder: Path, seconds: float) -> Outcome:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case.make(folder)
    with warnings.catch_warnings(), contextlib.chdir(folder), _streams() as said:
        warnings.simplefilter("ignore", ResourceWarning)  # as outside of tests; any other is one line too many
        code, raised = _ended(case, seconds)
    return Outcome(code, *said(), raised)


def _ended(case: Case, seconds: float) -> tuple[int | None, str]:
    """The exit code, or what came out instead."""
    try:
        with _no_longer_than(seconds):
            _do(case)
    except SystemExit as ended:
        return (ended.code if isinstance(ended.code, int) else 0), ""
    except DitbenchError as error:  # of a call from Python
        print(f"ditbench: {error}", file=sys.stderr)
        return 2, ""
    except Hang:
        return None, "hangs"
    except BaseException as error:
        if os.environ.get("CORPUS_TRACEBACKS"):
            traceback.print_exc(file=sys.__stderr__)
        return None, f"a traceback: {type(error).__name__}: {_short(str(error))} {_where(error)}"
    return 0, ""


def _where(error: BaseException) -> str:
    """The last place of ditbench's own that an exception came through."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/ditbench/" in frame.filename]
    return f"({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""


def _do(case: Case) -> None:
    if case.call is not None:
        case.call()
        return
    before, sys.argv = sys.argv, ["ditbench", *case.command]
    try:
        cli.main()
    finally:
        sys.argv = before


@contextlib.contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again every second: a destructor may swallow one
    faulthandler.dump_traceback_later(_STUCK, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _streams() -> Iterator[Callable[[], tuple[str, str]]]:
    """Both streams, as a pipe would get them, of this process and of those it starts; then what they held."""
    said, before = ["", ""], (sys.stdout, sys.stderr)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        with _at(1, out) as one, _at(2, errors) as other:
            sys.stdout, sys.stderr = one, other
            try:
                yield lambda: (said[0], said[1])
            finally:
                sys.stdout, sys.stderr = before
        for number, file in enumerate((out, errors)):
            file.seek(0)
            said[number] = file.read().decode(errors="replace")


@contextlib.contextmanager
def _at(number: int, file: IO[bytes]) -> Iterator[IO[str]]:
    """A descriptor that leads to a file for a while, and a stream that writes there."""
    kept = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        with open(number, "w", encoding="utf-8", buffering=1, closefd=False) as stream:
            yield stream
    finally:
        os.dup2(kept, number)
        os.close(kept)


def tally(cases: list[Case]) -> dict[str, int]:
    """How many there are of each kind."""
    counts: dict[str, int] = {}
    for case in cases:
        counts[case.kind] = counts.get(case.kind, 0) + 1
    return counts


def timed(case: Case, folder: Path) -> tuple[str, float]:
    """The fault, and the seconds that it took to find."""
    began = time.monotonic()
    return fault_of(case, folder), time.monotonic() - began
