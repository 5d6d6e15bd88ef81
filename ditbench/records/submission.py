"""A run put forward for the leaderboard: its record, its grid of samples and its curves, if it has some.

Nothing of it tells of the machine.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pydantic

from ..errors import BadFile, BadValue, DitbenchError
from ..registry import Registry
from ..storage.files import Unwritable, exists, is_file, is_folder, make_folder, whole_path, write_bytes
from ..storage.reading import read_bytes
from ..tracks.ledger import published
from ..tracks.search import SEED
from .files import CURVE_SUFFIXES, FILE_NAME, GRID_FILE, RECORDS, SAMPLES, record_files, run_files
from .record import Record, Submission, read_record, write_record
from .validation.faults import short
from .validation.files import CheckedFile, check_file
from .validation.folder import MAX_PICTURE
from .validation.privacy import betrayals
from .validation.rows import missing_seeds, rows_by_hardware
from .verification import check_name, verifications_of

_GENERIC = {"admin", "administrator", "debian", "docker", "localhost", "root", "runner", "ubuntu", "user", "users"}


@dataclass(frozen=True)
class Submitted:
    """A run that is put forward, and where it goes."""

    record: Record
    grid: bytes | None  # None: the run left none
    curves: Mapping[str, bytes]  # files, by name: of guidance, and of other lengths of EMA
    to: Path  # the leaderboard's folder

    @property
    def record_path(self) -> Path:
        """Where the record goes."""
        return self.to / RECORDS / self.record.track.name / f"{self.record.run_id}.json"

    @property
    def grid_path(self) -> Path:
        """Where the grid goes."""
        return self.to / SAMPLES / self.record.track.name / f"{self.record.run_id}.png"

    @property
    def warnings(self) -> list[str]:
        """What a reviewer will ask."""
        environment, run_id = self.record.environment, self.record.run_id
        found = []
        if environment is None or environment.git_commit is None:
            found.append(f"{run_id} does not know the commit of ditbench's code")
        elif environment.git_dirty:
            found.append(f"{run_id} ran on code with changes that are not committed")
        if self.grid is None and self.record.status == "finished":
            found.append(f"{run_id} has no {GRID_FILE} to show")
        if self.record.deviations:
            found.append(f"{run_id} will not be ranked: {'; '.join(self.record.deviations)}")
        return [short(text) for text in found]


def submit(
    folder: Path, by: str, to: Path, weights_url: str | None = None, today: date | None = None, *, registry: Registry
) -> list[Submitted]:
    """Copy a run's record and grid, or those of all runs in a folder, into a leaderboard's folder.

    All are checked before any is written, with what is in the registry. Raises `DitbenchError` naming the run: one that
    was interrupted, does not hold, names this machine, is of no track that was published, lacks a seed, or would
    overwrite another.
    """
    if not is_folder(to):
        raise BadFile(f"There is no leaderboard {str(to)!r}; go to a checkout of ditbench, or name it with `to`.")
    submission = _submission(by, weights_url, today or date.today())
    found = [_prepare(path, submission, to, registry) for path in _records_of(folder)]
    _check_seeds([one.record for one in found], to)
    waiting = [one for one in found if not _is_there(one)]
    for one in found:
        _write(one, anew=one in waiting)  # a curve may have come later than its record
    return found


def _submission(by: str, weights_url: str | None, today: date) -> Submission:
    check_name(by)
    try:
        return Submission(by=by, date=today, weights=weights_url)
    except pydantic.ValidationError:
        raise BadValue(f"`weights_url` {weights_url!r} is no address that begins with https://.") from None


def _records_of(folder: Path) -> list[Path]:
    """The record of a run's directory, or those of all runs in a folder."""
    if is_file(folder / FILE_NAME):
        return [folder / FILE_NAME]
    found = [path for path in run_files(folder) if f"-seed{SEED}-" not in path.parent.name]  # trials stay
    if not found:
        raise BadFile(f"{str(folder)!r} is neither a run's directory nor a folder of them: it has no {FILE_NAME}.")
    return found


def _prepare(path: Path, submission: Submission, to: Path, registry: Registry) -> Submitted:
    """One run, checked, with its submission."""
    record = _sound(check_file(path, registry))
    if record.ruleset == "trial":
        raise BadValue(f"{record.run_id} is a trial of a search: it stands in the study of the runs that it served.")
    if not published(record.track):
        raise BadValue(f"{record.run_id} is of track {record.track.name!r}, which was not published with ditbench.")
    grid, curves = _grid(path.with_name(GRID_FILE), record), dict(_curves(path.parent, record, registry))
    told = record.model_dump(mode="json", exclude={"submission"})
    told |= {name: json.loads(content) for name, content in curves.items()}
    for field, what in betrayals(told, machine_words(record.run_id, record.track.name)):
        raise BadValue(
            f"{record.run_id} would tell of this machine: {field} holds {what}. A record is not edited: rename what is "
            "called so and run it again, or open an issue if the text is ditbench's own."
        )
    return Submitted(record.model_copy(update={"submission": submission}), grid, curves, to)


def _sound(checked: CheckedFile) -> Record:
    record = checked.record
    if record is not None and record.status == "interrupted":
        raise BadValue(f"{record.run_id} was interrupted; give its `ditbench run` again to finish it.")
    _refuse_faults(checked)
    return read_record(checked.path)


def _refuse_faults(checked: CheckedFile) -> None:
    if checked.faults:
        more = f" (and {len(checked.faults) - 1} more faults)" if len(checked.faults) > 1 else ""
        raise BadFile(f"{checked.lines[0]}{more}. See `ditbench records validate`.")


def _curves(folder: Path, record: Record, registry: Registry) -> Iterator[tuple[str, bytes]]:
    """The curves beside a record, checked: each file's name and content."""
    for path in (folder / f"{record.run_id}{suffix}" for suffix in CURVE_SUFFIXES):
        if exists(path):
            _refuse_faults(check_file(path, registry))
            yield path.name, read_bytes(path, "curve")


def machine_words(*own: str) -> dict[str, str]:
    """This machine's names, and whose they are, but for those that many have, or that are in the record's own names."""
    host, home = socket.gethostname(), str(whole_path("~"))
    names = dict.fromkeys((host, host.partition(".")[0]), "this machine's name") | {_user(): "your user's name"}
    common = {*re.split(r"[^a-z0-9]+", " ".join(own).lower()), *_GENERIC}
    found = {name: what for name, what in names.items() if len(name) > 2 and name.lower() not in common}
    return found | ({home: "your home folder"} if len(home) > 1 else {})


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return ""


def _grid(path: Path, record: Record) -> bytes | None:
    """The PNG, which has been checked with its record; None if the run left none."""
    return read_bytes(path, "grid of samples", MAX_PICTURE) if GRID_FILE in record.files and exists(path) else None


def _check_seeds(records: Sequence[Record], to: Path) -> None:
    """`BadValue` if a row would lack a seed; those that the leaderboard has already count."""
    folders = {to / RECORDS / record.track.name for record in records}
    there = [read_record(path) for folder in sorted(folders) for path in record_files(folder)]
    for row in rows_by_hardware([*records, *there]):
        ours = [record for record in row if any(record is one for one in records)]
        if ours and (missing := missing_seeds(row)):
            raise BadValue(
                f"{ours[0].run_id}: seed {missing[0]} is missing. A row's seeds count from 0, so that none can be "
                "left out; submit them all, also those that failed or diverged."
            )


def _is_there(one: Submitted) -> bool:
    """Whether the leaderboard has this very submission; `DitbenchError` if it has what must not be overwritten."""
    path, ours = one.record_path, one.record.submission
    if not exists(path):
        return False
    there = read_record(path)
    free = {"submission": None, "sha256": None}
    if there.model_copy(update=free) != one.record.model_copy(update=free):
        raise DitbenchError(f"{path.name!r} is in the leaderboard with other content; it is not overwritten.")
    return _is_their_submission(there, ours, path)


def _is_their_submission(there: Record, ours: Submission | None, path: Path) -> bool:
    """Whether it is put forward by the same person with the same weights; to change that must void no verification."""
    theirs = there.submission
    if theirs is not None and ours is not None and (theirs.by, theirs.weights) == (ours.by, ours.weights):
        return True
    if verifications_of(there.run_id, path.parent):
        raise DitbenchError(f"{path.name!r} has been verified; to change it would make that void.")
    if theirs is not None and ours is not None and theirs.by != ours.by:
        raise DitbenchError(f"{path.name!r} is in the leaderboard, submitted by {short(theirs.by)!r}.")
    return False


def _write(one: Submitted, anew: bool) -> None:
    """The picture first: a record without one is whole, a picture without its record is not."""
    try:
        for path in (one.record_path, one.grid_path) if anew else ():
            make_folder(path.parent)
        if anew and (grid := one.grid) is not None:
            write_bytes(one.grid_path, grid)
        if anew:
            write_record(one.record, one.record_path)
        for name, content in one.curves.items():
            write_bytes(one.record_path.with_name(name), content)
    except Unwritable as error:
        raise DitbenchError(f"The leaderboard {str(one.to)!r} can't be written ({error.reason}).") from None
