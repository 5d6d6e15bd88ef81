"""`ditbench runs`: what runs left on the disk, and how they are removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import BadFile, BadValue
from .app import COMPARE, app, show
from .options import AsJson
from .output import Commands, count, tell, tell_json

runs_app = Commands(no_args_is_help=True, help="Show the runs on this disk, and remove some.")
app.add_typer(runs_app, name="runs", rich_help_panel=COMPARE)

_MIB = 2**20
_NONE, _DAMAGED = "no record", "damaged record"
_Folder = Annotated[Path, typer.Option("--runs", help="A track's folder of runs, or the folder of all.")]
_Status = Annotated[
    Literal["finished", "failed", "diverged", "interrupted"] | None, typer.Option(help="Only those that ended so.")
]


@dataclass(frozen=True)
class _Run:
    """A run's directory."""

    folder: Path
    status: str
    bytes: int
    changed: datetime

    @property
    def facts(self) -> dict[str, object]:
        return {
            "run": self.folder.name,
            "track": self.folder.parent.name,
            "status": self.status,
            "MiB": round(self.bytes / _MIB, 1),
            "age": _age(self.changed),
        }


@runs_app.command(
    gives="ditbench.cli.answers.runs:RunsOnDisk",
    name="list",
    epilog="Example: ditbench runs list --status failed",
)
def list_(folder: _Folder = Path("runs"), status: _Status = None, as_json: AsJson = False) -> None:
    """List the runs in a folder: how each ended, how large it is, and how long ago it changed."""
    found = [run for run in _runs(folder) if status in (None, run.status)]
    show((run.facts for run in found), as_json, "run", "track", "status", "MiB", "age")
    if not as_json:
        tell(f"{count(len(found), 'run')}, {_size(found)}")


@runs_app.command(
    gives="ditbench.cli.answers.runs:RemovedRuns",
    epilog="Example: ditbench runs remove 'dit-nano-*' --status failed --yes",
)
def remove(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Names of runs, or patterns such as 'dit-nano-*'.")
    ] = None,
    folder: _Folder = Path("runs"),
    status: _Status = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove runs from the disk, with all that they left. It asks first.

    Only directories of runs in that folder are removed. Links are not followed, and a run that is at work stays.
    """
    from ..leaderboard.build import write_run_tables
    from ..records.record import read_runs
    from .answers.runs import RemovedRuns

    chosen = _chosen(_runs(folder), names or [], status, folder)
    for run in chosen:
        tell(f"{run.folder}  {run.status}  {_size([run])}")
    if not chosen:
        tell("There is no such run.")
    elif not yes and not typer.confirm(f"Remove {count(len(chosen), 'run')}, {_size(chosen)}?", err=True):
        tell("Nothing was removed.")
        chosen = []
    else:
        _remove(chosen)
        tell(f"Removed {count(len(chosen), 'run')}, {_size(chosen)}.")
        for track in dict.fromkeys(run.folder.parent for run in chosen):
            write_run_tables(read_runs(track), track)
    if as_json:
        tell_json(
            RemovedRuns(removed=[str(run.folder.absolute()) for run in chosen], bytes=sum(run.bytes for run in chosen))
        )


def _chosen(known: Sequence[_Run], names: Sequence[str], status: str | None, folder: Path) -> list[_Run]:
    if not names and status is None:
        raise BadValue("Name the runs to remove, or give a --status. '*' names all of them.")
    for name in names:
        if not any(fnmatchcase(run.folder.name, name) for run in known):
            raise BadValue(f"No run named {name!r} is in {str(folder)!r}; see `ditbench runs list`.")
    named = [run for run in known if not names or any(fnmatchcase(run.folder.name, name) for name in names)]
    return [run for run in named if status in (None, run.status)]


def _remove(runs: Sequence[_Run]) -> None:
    """Remove them; `RunBusy` before anything is gone if a command is at one."""
    from ..storage.claims import refuse_held

    refuse_held(run.folder for run in runs)
    for run in runs:
        shutil.rmtree(run.folder)  # which follows no links


def _runs(folder: Path) -> list[_Run]:
    """The runs of one track, or of all tracks whose folders are in that folder."""
    from ..storage.files import is_folder

    if not is_folder(folder):
        raise BadFile(f"The folder {str(folder)!r} does not exist; --runs names another.")
    return [_run(path) for track in (folder, *_folders(folder)) for path in _folders(track) if _is_run(path)]


def _is_run(path: Path) -> bool:
    from ..records.files import is_run_id

    return is_run_id(path.name)


def _folders(folder: Path) -> list[Path]:
    """Those in it, without links to some elsewhere."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]


def _run(folder: Path) -> _Run:
    files = [path.lstat() for path in _files(folder)]
    newest = max((file.st_mtime for file in files), default=folder.stat().st_mtime)
    size = sum(file.st_size for file in files)
    return _Run(folder, _status(folder), size, datetime.fromtimestamp(newest, UTC))


def _status(folder: Path) -> str:
    from ..records.files import FILE_NAME
    from ..records.record import read_record
    from ..storage.files import exists

    try:
        return read_record(folder / FILE_NAME).status if exists(folder / FILE_NAME) else _NONE
    except BadFile:
        return _DAMAGED


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _size(runs: Sequence[_Run]) -> str:
    return f"{sum(run.bytes for run in runs) / _MIB:,.1f} MiB"


def _age(since: datetime) -> str:
    passed = datetime.now(UTC) - since
    if passed.days:
        return count(passed.days, "day")
    hours, minutes = divmod(passed.seconds // 60, 60)
    return count(hours, "hour") if hours else count(minutes, "minute")
