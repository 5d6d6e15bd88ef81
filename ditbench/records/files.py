"""The names of the files that runs leave, by which readers tell records from what lies beside them."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from ..storage.files import is_folder

FILE_NAME = "record.json"
WEIGHTS_FILE, RAW_WEIGHTS_FILE = "ema.safetensors", "raw.safetensors"
SAMPLES_FILE, GRID_FILE = "samples.npz", "samples.png"
MILESTONES_FILE, POINTS_FILE = "milestones.json", "points.json"
SNAPSHOTS = "ema-snapshots"  # a run's folder of its power-function averages, which stays
RECORDS, SAMPLES = "records", "samples"  # folders of a leaderboard, with one for each track
PROFILES = "profiles"  # likewise, with one for each class of hardware
STUDIES = "studies"  # likewise, of studies of scale
CHECKPOINTS = 2  # that a run in training has, and for a moment one more: the one before, should the newest be damaged
PROFILE_SUFFIX = ".profile.json"  # what `profile.py` writes, which may lie among records
EVALUATION_SUFFIX = ".evaluation.json"  # what `evaluation.py` writes, likewise
LENGTHS_SUFFIX = ".ema.json"  # what `lengths.py` writes, likewise
VERIFICATION_SUFFIXES = (".re-evaluated.json", ".re-trained.json")  # what `verification.py` writes, likewise
GUIDANCE_SUFFIX = ".guidance.json"  # what `guidance.py` writes, likewise
CURVE_SUFFIXES = (GUIDANCE_SUFFIX, LENGTHS_SUFFIX)  # of what lies beside a record and is of its weights
_OTHERS = (PROFILE_SUFFIX, EVALUATION_SUFFIX, *CURVE_SUFFIXES, *VERIFICATION_SUFFIXES)
_BEGINNING = 300  # bytes in which a record's run_id stands
CALLED = f"{FILE_NAME} in its run's directory, or RUN-ID.json"  # how a record is called, in words
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-seed[0-9]+-[0-9a-f]{8}")  # as `RunConfig.run_id` makes it


def is_run_id(name: str) -> bool:
    """Whether a name has the form that names of runs have."""
    return _RUN_ID.fullmatch(name) is not None


def is_called_record(path: PurePath) -> bool:
    """Whether a file's name is that of a record: nothing else is taken for one, whatever it holds."""
    return path.name == FILE_NAME or (path.suffix == ".json" and is_run_id(path.stem))


def record_files(folder: Path) -> list[Path]:
    """The records below a folder, by their names. What is hidden is none.

    A run's directory has one, its ``record.json``; checkpoints and whatever else lies there are the run's own.
    """
    return [path for path in json_files(folder) if is_called_record(path) and not _of_a_run(path.relative_to(folder))]


def profile_files_beside(records: Path) -> list[Path]:
    """The profiles of the leaderboard whose records' folder this is; none if it is no such folder."""
    folder = records.parent if records.name else records.absolute().parent  # "." has no name
    found = (folder / PROFILES).glob(f"*/*{PROFILE_SUFFIX}")
    return sorted(found) if records.absolute().name == RECORDS else []


def run_files(folder: Path) -> list[Path]:
    """The records of the run directories in a folder, which a track's folder of runs is."""
    found = sorted(folder.glob(f"*/{FILE_NAME}")) if is_folder(folder) else []  # no name is too long to ask
    return [path for path in found if not _is_hidden(path.relative_to(folder))]


def json_files(folder: Path) -> list[Path]:
    """All ``.json`` below a folder, in order, but what is hidden or in a hidden folder."""
    return [path for path in sorted(folder.rglob("*.json")) if not _is_hidden(path.relative_to(folder))]


def misnamed(folder: Path) -> list[Path]:
    """Files in no run's directory that look like records and are not called so: who leaves them out is to tell."""
    loose = (path for path in json_files(folder) if not _of_a_run(path.relative_to(folder)))
    return [path for path in loose if not path.name.endswith(_OTHERS) and not is_called_record(path) and _begins(path)]


def _begins(path: Path) -> bool:
    """Whether a file begins as a record does, where it can be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return b'"run_id"' in file.read(_BEGINNING)
    except OSError:
        return False


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _of_a_run(path: PurePath) -> bool:
    """Whether it lies below a run's directory and is not the run's record."""
    outer, inner = path.parts[:-2], path.parts[-2:-1]
    return any(map(is_run_id, outer)) or (path.name != FILE_NAME and any(map(is_run_id, inner)))
