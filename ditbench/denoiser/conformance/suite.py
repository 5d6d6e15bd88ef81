"""All checks, in the order in which they are told. One that raises has failed, and the others go on."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path

from ...errors import brief, one_line
from ...registry import Registry, pick, select
from ...storage.files import write_text
from ..bounds import TooLarge, without_memory
from ..interface import DIGITS_SPEC
from . import building, output, running
from .findings import Finding, Outcome, Report, unfinished
from .subject import Broken, Check, NotHere, Subject

CHECKS = {check.name: check for check in (*building.CHECKS[:3], *output.CHECKS, *running.CHECKS, *building.CHECKS[3:])}


def examine(subject: Subject, only: Collection[str] = (), skip: Collection[str] = ()) -> Report:
    """Make every check, or `only` those of these names, but for those to `skip`; `UnknownName` for any other."""
    *_, report = examine_in_turn(subject, only, skip)
    return report


def examine_in_turn(subject: Subject, only: Collection[str] = (), skip: Collection[str] = ()) -> Iterator[Report]:
    """The report so far: before the first check, and after each."""
    skipped = [pick("check", name, CHECKS) for name in skip]
    asked = [pick("check", name, CHECKS) for name in only] or CHECKS.values()
    chosen = [check for check in asked if check not in skipped]
    report = Report(label=subject.selection.label, spec=str(subject.spec), findings=[])
    yield report
    for check in chosen:
        report = report.and_(_make(check, subject))
        yield report


def _make(check: Check, subject: Subject) -> Finding:
    start = time.perf_counter()
    status: Outcome = "passed"
    try:
        seen = check.look(subject)
    except NotHere as reason:
        status, seen = "skipped", str(reason)
    except Broken as fault:
        status, seen = "failed", str(fault)
    except (Exception, SystemExit) as error:
        status, seen = "failed", _raised(error)
    mend = check.mend if status == "failed" else ""
    seconds = time.perf_counter() - start
    return Finding(check=check.name, status=status, expected=check.expected, seen=seen, mend=mend, seconds=seconds)


def _raised(error: BaseException) -> str:
    """The error in one line, and the last place in the network's own code that it came through."""
    text = brief(one_line(error)) or "no message"
    return f"{type(error).__name__}: {text}" + "".join(f" (in {place})" for place in _places(error))


def _places(error: BaseException) -> Iterator[str]:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        f for f in frames if "site-packages" not in f.filename and Path(__file__).parent != Path(f.filename).parent
    ]
    for frame in theirs[-1:]:
        yield f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def subject_named(registry: Registry, text: str, size: str) -> Subject:
    """What ``name[:size][+option=value]`` stands for, on the input that the size was made for, or the digits'."""
    selection = select(registry, text, size)
    spec = selection.architecture.specs.get(selection.size, DIGITS_SPEC)
    return Subject(selection, spec, registry.provider(selection.architecture.name).module)


def main(text: str, size: str, target: Path) -> None:
    """In a process of its own: check, and leave the report at `target` as JSON when all checks are made.

    Until then it lies at `unfinished(target)`, also if the network ends the process, with whatever exit code. Raises
    `TooLarge` for a network that no machine holds.
    """
    subject = subject_named(Registry.installed(), text, size)
    _refuse_too_large(subject)
    for report in examine_in_turn(subject):
        write_text(unfinished(target), report.model_dump_json())
    unfinished(target).rename(target)


def _refuse_too_large(subject: Subject) -> None:
    """`TooLarge` before the first check would build for ever. What else is wrong with the network, the checks tell."""
    try:
        with without_memory(subject.selection.label):
            subject.selection.build(subject.spec)
    except TooLarge:
        raise
    except (Exception, SystemExit):
        return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
