"""The ledger of published tracks: a name and a version stand for one protocol, for ever, and for one set of data.

A `hashes.toml` beside a track file has a table for each name, with one hash for each version. ditbench's own tracks
stand in one; a plugin's or a user's may. `data.toml` beside ditbench's own has the sha256 of what they are trained on.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeVar

import pydantic
from pydantic import Field

from ..errors import BadFile, BadValue
from ..storage.files import exists
from ..storage.reading import read_toml
from ..storage.schema import Name, first_fault
from .track import Track, load_track

LEDGER_FILE, DATA_FILE = "hashes.toml", "data.toml"
_SHIPPED = Path(__file__).parent

Version = Annotated[str, Field(pattern=r"^[1-9][0-9]*$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
DataHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

T = TypeVar("T")
_LEDGER = pydantic.TypeAdapter(dict[Name, dict[Version, Hash]])
_DATA = pydantic.TypeAdapter(dict[Name, dict[Version, DataHash]])


def read_ledger(folder: Path) -> dict[str, dict[str, str]]:
    """name -> version -> hash of the tracks that were published from a folder; empty without a ledger.

    `BadFile` names the file and the field.
    """
    return _read(folder / LEDGER_FILE, _LEDGER, {})


def read_data_hashes(folder: Path) -> dict[str, dict[str, str]]:
    """name -> version -> sha256 of the training images of the folder's tracks, where it is known.

    `BadFile` names the file and the field.
    """
    return _read(folder / DATA_FILE, _DATA, {})


def _read(path: Path, form: pydantic.TypeAdapter[T], nothing: T) -> T:
    if not exists(path):
        return nothing
    try:
        return form.validate_python(read_toml(path, "ledger"))
    except pydantic.ValidationError as error:
        raise BadFile(f"The ledger {str(path)!r} is wrong: {first_fault(error)}.") from None


def check_ledger(track: Track, path: Path) -> bool:
    """Whether the ledger beside the track's file has it; `BadValue` if that has another hash for its version."""
    published = read_ledger(path.parent).get(track.name, {}).get(str(track.version))
    if published not in (None, track.hash):
        raise BadValue(
            f"Track {track.name!r} has changed: its version {track.version} was published as {published} and is now "
            f"{track.hash}; raise its version in {str(path)!r}."
        )
    return published is not None


def published(track: Track) -> dict[str, str]:
    """The hashes, by version, of the track of this name that comes with ditbench; empty if none does."""
    return _hashes().get(track.name, {})


def is_published(track: Track) -> bool:
    """Whether ditbench published this very track."""
    return published(track).get(str(track.version)) == track.hash


def data_of(track: Track) -> str:
    """The sha256 that the data of a published track has; empty where none is known, or the track is another."""
    return _data_hashes().get(track.name, {}).get(str(track.version), "") if is_published(track) else ""


def shipped(track: Track) -> Track | None:
    """The same protocol as it comes with this ditbench; None if it is another, or of an older version."""
    found = namesake(track)
    return found if found is not None and found.hash == track.hash else None


def namesake(track: Track) -> Track | None:
    """The track of this name and version as it comes with this ditbench, whatever a run changes in it; or None."""
    found = _shipped(track.name) if published(track) else None
    return found if found is not None and found.version == track.version else None


@lru_cache(maxsize=1)
def _hashes() -> dict[str, dict[str, str]]:
    return read_ledger(_SHIPPED)


@lru_cache(maxsize=1)
def _data_hashes() -> dict[str, dict[str, str]]:
    return read_data_hashes(_SHIPPED)


@lru_cache
def _shipped(name: str) -> Track | None:
    path = _SHIPPED / f"{name}.toml"
    return load_track(path) if exists(path) else None
