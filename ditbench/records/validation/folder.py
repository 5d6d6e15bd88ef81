"""A leaderboard's folder: records and profiles are as `ditbench records submit` puts them there, with nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...storage.files import is_folder
from ...storage.reading import Unreadable, read_bytes
from ...tracks.ledger import published
from ..files import (
    CURVE_SUFFIXES,
    FILE_NAME,
    GRID_FILE,
    PROFILE_SUFFIX,
    PROFILES,
    RECORDS,
    SAMPLES,
    VERIFICATION_SUFFIXES,
    is_called_record,
)
from ..profile import Profile
from ..record import Record
from ..verification import NAME_FORM, is_name
from .faults import Faults, shown
from .png import fault
from .privacy import betrayals

MAX_PICTURE = 2**26  # bytes of a grid of samples

_BESIDE = (*VERIFICATION_SUFFIXES, *CURVE_SUFFIXES)  # what ends the names of files beside a committed record


def is_committed(path: Path) -> bool:
    """Whether a file lies where a leaderboard has its records; those of a run's directory are called otherwise."""
    return path.name != FILE_NAME and path.absolute().parent.parent.name == RECORDS


def is_committed_profile(path: Path) -> bool:
    """Whether a profile lies where a leaderboard has its own, beside its records."""
    folder = path.absolute().parent.parent
    return folder.name == PROFILES and is_folder(folder.with_name(RECORDS))


def grid_of(path: Path) -> Path:
    """Where the grid of samples of a leaderboard's record lies."""
    path = path.absolute()
    return path.parents[2] / SAMPLES / path.parent.name / f"{path.stem}.png"


def as_submitted(record: Record) -> Faults:
    """What `ditbench records submit` would not have let pass."""
    if not published(record.track):
        yield f"track.name is {shown(record.track.name)}, should be one of the tracks that come with ditbench"
    if record.ruleset == "trial":
        yield 'ruleset is "trial", should be one of a row: a trial of a search has no place in a leaderboard'
    yield from put_forward(record, "record")


def put_forward(found: Record | Profile, what: str) -> Faults:
    """By whom a record or a profile is, in a name; and it tells nothing of the machine."""
    if found.submission is None:
        yield f"submission is none, should say who put the {what} forward: `ditbench records submit` writes it"
    elif not is_name(found.submission.by):
        yield f"submission.by is {shown(found.submission.by)}, should be a name: {NAME_FORM}"
    yield from tells_no_path(found.model_dump(mode="json", exclude={"submission"}))


def tells_no_path(content: dict[str, Any]) -> Faults:
    """A fault for each string that holds an absolute path; names of machines are known to those alone who submit."""
    for field, what in betrayals(content, {}):
        yield f"{field} holds {what}, should tell nothing of the machine"


def picture_only(path: Path, record: Record) -> Faults:
    """A fault if a grid of samples is no PNG, a huge one, or more than a picture; that of clips may move."""
    try:
        content = read_bytes(path, "grid of samples", MAX_PICTURE)
    except Unreadable as error:
        yield f"files.{GRID_FILE}: {path.name} can't be read: {error.reason}"
        return
    if what := fault(content, clips=record.track.data.frames > 1):
        yield f"files.{GRID_FILE}: {path.name} {what}"


def strays(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """What lies in the leaderboards among folders, or below them, and belongs to no record there; and the fault."""
    for board in dict.fromkeys(folder for path in paths if is_folder(path) for folder in _boards(path)):
        yield from _among_records(board / RECORDS)
        yield from _among_samples(board)
        yield from _among_profiles(board / PROFILES)


def _boards(folder: Path) -> list[Path]:
    if folder.absolute().name == RECORDS:
        return [folder.parent if folder.name else folder.absolute().parent]  # "." has no name
    if (folder / RECORDS).is_dir():
        return [folder]
    return [found.parent for found in sorted(folder.rglob(RECORDS)) if found.is_dir()]


def _among_records(folder: Path) -> Iterator[tuple[Path, str]]:
    should = f"should be {RECORDS}/TRACK/RUN-ID.json, or beside it, ending with {' or '.join(_BESIDE)}"
    for path in _files(folder):
        known = is_called_record(path) or path.name.endswith(_BESIDE)
        if path.parent.parent != folder or not known or path.name == FILE_NAME:
            yield path, f"it belongs to no record, {should}"


def _among_samples(board: Path) -> Iterator[tuple[Path, str]]:
    grids = {grid_of(path) for path in (board / RECORDS).glob("*/*.json") if is_called_record(path)}
    for path in _files(board / SAMPLES):
        if path.absolute() not in grids:
            yield path, f"it belongs to no record, should be {SAMPLES}/TRACK/RUN-ID.png"


def _among_profiles(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in _files(folder):
        if path.parent.parent != folder or not path.name.endswith(PROFILE_SUFFIX):
            yield path, f"it is no profile, should be {PROFILES}/HARDWARE/NAME{PROFILE_SUFFIX}"


def _files(folder: Path) -> list[Path]:
    """All below a folder that is no folder, hidden files and links included."""
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
