"""`ditbench check`: whether an architecture keeps the contract, before any GPU time is spent on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..asking import SECONDS, WAIT, how_it_ended
from ..errors import BadValue, brief, one_line
from .app import ADD, EXIT_FAILED, app, installed
from .options import Architectures, AsJson, parse_architectures
from .output import tell_json, warn

if TYPE_CHECKING:
    from ..denoiser.conformance.findings import Report

_IMPORT = 30.0  # seconds that a network may be imported for until that is told
_LOOK = 0.5  # seconds between two looks at what a check is at
_CELL = 100  # characters of what was seen that stand in the table; below it, all of a fault
# As tracebacks end with them: what is no fault of the network.
_NO_FINDINGS = ("ditbench.denoiser.bounds.TooLarge", "ditbench.storage.files.Unwritable")


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.plugins:CheckAnswer",
    rich_help_panel=ADD,
    epilog="Example: ditbench check dit:nano+conditioning=in-context --report check.md",
)
def check(
    architectures: Architectures,
    size: Annotated[str, typer.Option(help="The size to check, if the name has none.")] = "nano",
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option(help="Also write a report, as Markdown.")] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Also show the whole traceback of an error.")] = False,
) -> None:
    """Check that architectures keep the denoiser's contract, each in a clean process. Exit code 1: a check failed."""
    from ..registry import select
    from ..storage.files import check_target, write_text
    from .console import make_console, plain
    from .last_check import keep

    registry, chosen = installed(), parse_architectures(architectures)
    selected = [select(registry, name, size) for name in chosen]  # a wrong name is told before torch is imported
    if report is not None:
        check_target(report)
    found = []
    for name, selection in zip(chosen, selected, strict=True):
        with make_console().status(f"Checking {plain(name)}"):
            found.append(_in_its_own_process(name, size))
        keep(found[-1], selection.label, registry.source_sha256(selection.architecture.name))
        if not as_json:
            _show(found[-1], traceback)
    if as_json:
        left_out = None if traceback else {"findings": {"__all__": {"traceback"}}}
        told = [one.model_dump(mode="json", exclude=left_out) for one in found]
        tell_json(told if len(told) > 1 else told[0])
    if report is not None:
        write_text(report, "\n".join(one.markdown for one in found))
    if any(one.failed for one in found):
        raise typer.Exit(EXIT_FAILED)


def _in_its_own_process(name: str, size: str) -> Report:
    """The report; of a process that died, all that it had found, and that it died.

    `BadValue` for a network that no machine holds, or where there is no room for the report.
    """
    from ..denoiser.conformance.findings import Finding, Report, unfinished
    from ..storage.files import temporary_folder

    with temporary_folder() as folder:
        target = folder / "report.json"
        command = [sys.executable, "-P", "-m", "ditbench.denoiser.conformance.suite", name, size, str(target)]
        code, said, stuck = _ended(command, folder / "said.txt", partial(_now, name, target))
        whole = target.exists()
        found = target if whole else unfinished(target)
        text = found.read_text(encoding="utf-8") if found.exists() else ""
    report = Report.model_validate_json(text) if text else Report(label=name, spec="its own input", findings=[])
    if code == 0 and whole:
        return report
    last = (said.strip().splitlines() or [""])[-1]
    kind, _, why = last.partition(": ")
    if kind in _NO_FINDINGS:
        raise BadValue(why)
    died = Finding(
        check="survives",
        status="failed",
        expected="a process that lives to tell what it found",
        seen=stuck
        or f"{_end_of(code)}{'' if whole else ' before all checks were made'}. {brief(one_line(last))}".strip(),
        mend="build the network and run one forward pass in Python, under `python -X faulthandler`",
    )
    return report.and_(died)


def _end_of(code: int) -> str:
    memory = " (Linux does that when memory runs out)" if code == -signal.SIGKILL else ""
    return how_it_ended(code) + memory


def _now(name: str, target: Path) -> tuple[str, float]:
    """What is waited for, and for how many seconds nobody wonders: torch alone takes ten."""
    from ..denoiser.conformance.findings import at_work

    try:
        check = at_work(target).read_text(encoding="utf-8")
    except OSError:
        check = ""
    return (f"the check {check!r} of {name}", WAIT) if check else (f"importing and building {name}", _IMPORT)


def _ended(command: list[str], log: Path, now: Callable[[], tuple[str, float]]) -> tuple[int, str, str]:
    """How a command has ended, what it said on standard error, and what it was stuck at. What it started ends with it.

    It tells what it is at, `now`, once that takes long, and is ended if that takes for ever.
    """
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
        try:
            stuck = _waited_for(process, now)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    return code, log.read_text(encoding="utf-8", errors="replace"), stuck


def _waited_for(process: subprocess.Popen[bytes], now: Callable[[], tuple[str, float]]) -> str:
    """What a process is stuck at; empty once it has ended."""
    told, (at, patience), since = "", now(), time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
            return ""
        if (then := now()) != (at, patience):
            (at, patience), since = then, time.monotonic()
        waited = time.monotonic() - since
        if waited > SECONDS:
            return f"it was at {at} for {SECONDS:g} s and did not end"
        if waited > patience and told != at:
            told = at
            warn(f"ditbench: still at {at}, for at most {SECONDS:g} s")


def _show(found: Report, traceback: bool) -> None:
    from .console import make_console, make_table, plain

    console, table = make_console(), make_table("check", "outcome", "seen")
    colours = {"passed": "green", "failed": "bold red", "warned": "bold yellow", "skipped": "yellow"}
    for finding in found.findings:
        outcome = f"[{colours[finding.status]}]{finding.status}[/]"
        table.add_row(finding.check, outcome, plain(brief(finding.seen, _CELL)))
    console.print(table)
    for fault in (*found.faults, *found.warned):
        console.print(f"[bold]{fault.check}[/]: expected {plain(fault.expected)}; seen: {plain(fault.seen)}")
        console.print(f"  To fix it: {plain(fault.mend)}.", highlight=False)
        if traceback and fault.traceback:
            console.print(fault.traceback.rstrip(), highlight=False, markup=False, soft_wrap=True)
    if not traceback and any(fault.traceback for fault in found.faults):
        console.print("--traceback shows the whole traceback.", highlight=False)
    console.print(plain(found.summary), highlight=False)
