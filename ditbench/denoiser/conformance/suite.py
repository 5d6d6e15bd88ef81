"""All checks, in the order in which they are told. One that raises has failed, and the others go on."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from ...errors import PluginFault, brief, one_line
from ...registry import Registry, pick, select
from ...storage.files import write_text
from ..bounds import TooLarge, without_memory
from ..interface import DIGITS_SPEC
from . import building, coordinates, output, running, scaling
from .findings import Finding, Outcome, Report, at_work, unfinished
from .places import place_of, told_whole, where
from .subject import Broken, Check, Doubtful, NotHere, Subject, Unbuildable

_LAST = (*building.CHECKS[3:], *scaling.CHECKS, *coordinates.CHECKS)
_IN_TURN = (*building.CHECKS[:3], *output.CHECKS, *running.CHECKS, *_LAST)
CHECKS = {check.name: check for check in _IN_TURN}

_UNBUILDABLE = "unbuildable"  # told of, whatever the error
_USELESS = "useless"  # told of an output that is not as it must be: all that follows from it is no news
_OF_THE_OUTPUT = "output-shape"  # the check that finds it
_BUILT = {"expected": "a network that can be built", "mend": "it is built as build(spec, **sizes[size], **options)"}
_LOADED = {
    "expected": "a network whose module can be imported",
    "mend": "import it in Python; what it imports must be installed, and named in the plugin's `dependencies`",
}
_CALLED = {
    "expected": "a network that can be called",
    "mend": "it is called as net(x, t, y): x (N, C, H, W), t (N,) in [0, 1000], y (N,) in [0, classes]",
}


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
    told: dict[str, str] = {}
    yield report
    for check in chosen:
        report = report.and_(_make(check, subject, told))
        yield report


def _make(check: Check, subject: Subject, told: dict[str, str]) -> Finding:
    """What a check finds. An error that another has told is not told again: `told` has them, and gets new ones."""
    if check.needs_output and _USELESS in told:
        finding = Finding(check=check.name, status="skipped", expected=check.expected, seen="")
        return _not_made(finding, f"the output is of no use; see {told[_USELESS]}")
    start = time.perf_counter()
    status, seen, raised = _look(check, subject)
    seconds = time.perf_counter() - start
    finding = Finding(check=check.name, status=status, expected=check.expected, seen=seen, seconds=seconds)
    if raised is None:
        told |= {_USELESS: check.name} if status == "failed" and check.name == _OF_THE_OUTPUT else {}
        return finding.model_copy(update={"mend": check.mend if status in ("failed", "warned") else ""})
    unbuildable = isinstance(raised, Unbuildable)
    if unbuildable and _UNBUILDABLE in told:
        return _not_made(finding, f"the network can't be built; see {told[_UNBUILDABLE]}")
    same = f"{type(_cause(raised)).__name__} {place_of(_cause(raised)) or seen}"  # its text may name the batch's size
    if same in told:
        return _not_made(finding, f"the same error as in {told[same]}")
    told[same] = check.name
    found = {"traceback": told_whole(_cause(raised)), "mend": check.mend}
    if isinstance(raised, PluginFault):
        found |= _LOADED
    elif not check.mends_errors:
        found |= {**_BUILT, **_refused(raised, subject)} if unbuildable else _CALLED
        told |= {_UNBUILDABLE: check.name} if unbuildable else {}
    return finding.model_copy(update=found)


def _refused(error: BaseException, subject: Subject) -> dict[str, str]:
    """How to mend it if `build` does not take a keyword that the record has it given."""
    found = re.search(r"got an unexpected keyword argument '(\w+)'", str(_cause(error)))
    name, architecture = found[1] if found else "", subject.selection.architecture
    if name not in subject.selection.settings:
        return {}
    place = "options" if name in architecture.options else f"sizes[{subject.selection.size!r}]"
    return {"mend": f"take {name!r} out of the record's {place}, or let build take it: {_BUILT['mend']}"}


def _not_made(finding: Finding, why: str) -> Finding:
    return finding.model_copy(update={"status": "skipped", "seen": f"not made: {why}"})


def _cause(error: BaseException) -> BaseException:
    """The network's own error."""
    return error.__cause__ or error if isinstance(error, Unbuildable) else error


def _look(check: Check, subject: Subject) -> tuple[Outcome, str, BaseException | None]:
    """How it went, what was seen, and the network's own error if that ended the check."""
    try:
        return "passed", check.look(subject), None
    except NotHere as reason:
        return "skipped", str(reason), None
    except Doubtful as doubt:
        return "warned", str(doubt), None
    except Broken as fault:
        return "failed", str(fault), None
    except (Exception, SystemExit) as error:
        return "failed", _raised(_cause(error)), error


def _raised(error: BaseException) -> str:
    """The error in one line, and where in the network's own code it was raised."""
    text = one_line(error) or "no message"
    if not type(error).__module__.startswith("torch._dynamo"):  # which tells at length what to do
        text = brief(text)
    place = where(error)
    return f"{type(error).__name__}: {text}" + (f" (in {place})" if place else "")


def subject_named(registry: Registry, text: str, size: str) -> Subject:
    """What ``name[:size][+option=value]`` stands for, on the input that the size was made for, or the digits'."""
    selection = select(registry, text, size)
    return Subject(selection, selection.made_for or DIGITS_SPEC, registry.provider(selection.architecture.name).module)


def main(text: str, size: str, target: Path) -> None:
    """In a process of its own: check, and leave the report at `target` as JSON when all checks are made.

    Until then it lies at `unfinished(target)`, also if the network ends the process, with whatever exit code; which
    check is being made stands in `at_work(target)`. Raises `TooLarge` for a network that no machine holds.
    """
    subject, coming = subject_named(Registry.installed(), text, size), iter(CHECKS)
    _refuse_too_large(subject)
    for report in examine_in_turn(subject):
        write_text(unfinished(target), report.model_dump_json())
        write_text(at_work(target), next(coming, ""))
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
    os._exit(0)  # whatever threads the network has started
