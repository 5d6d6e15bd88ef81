"""What `ditbench check` found last of a network as its plugin is now: `ditbench run` tells it in one line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ..errors import DitbenchError
from ..storage.files import cache_folder, is_file, make_folder, write_text
from ..storage.schema import Frozen, Name, digest, read_checked
from .output import count

if TYPE_CHECKING:
    from ..denoiser.conformance.findings import Report

_SHOWN = 3  # checks that the line names


class LastCheck(Frozen, strict=True):
    """Which checks failed, of how many."""

    failed: Annotated[list[Name], Field(max_length=1000)]
    made: int


def keep(report: Report, label: str, source_sha256: str) -> None:
    """Remember a report in the cache. Where there is no room for it, nothing is told later."""
    last = LastCheck(failed=[one.check for one in report.failed], made=len(report.findings))
    with suppress(DitbenchError):
        place = _place(label, source_sha256)
        make_folder(place.parent)
        write_text(place, last.model_dump_json())


def told(label: str, source_sha256: str) -> str:
    """The line about a network that failed checks, by its label and its plugin's source; else nothing."""
    try:
        place = _place(label, source_sha256)
        last = read_checked(LastCheck, place) if is_file(place) else None
    except DitbenchError:  # a damaged memory is none
        return ""
    if last is None or not last.failed:
        return ""
    names = ", ".join(last.failed[:_SHOWN]) + ", ..." * (len(last.failed) > _SHOWN)
    return f"{label} failed {len(last.failed)} of {count(last.made, 'check')} ({names}): see ditbench check {label}"


def _place(label: str, source_sha256: str) -> Path:
    return cache_folder() / "checks" / f"{digest([label, source_sha256])}.json"
