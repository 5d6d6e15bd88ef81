"""The ledger of published tracks: a name and a version stand for one protocol, for ever.

A `hashes.toml` beside a track file has a table for each name, with one hash for each version. ditbench's own tracks
stand in one; a plugin's or a user's may.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from .errors import BadFile, BadValue
from .track import Name, Track, first_fault

LEDGER_FILE = "hashes.toml"

Version = Annotated[str, Field(pattern=r"^[1-9][0-9]*$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]

_LEDGER = pydantic.TypeAdapter(dict[Name, dict[Version, Hash]])


def read_ledger(folder: Path) -> dict[str, dict[str, str]]:
    """name -> version -> hash of the tracks that were published from a folder; empty without a ledger."""
    path = folder / LEDGER_FILE
    if not path.exists():
        return {}
    try:
        return _LEDGER.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadFile(f"The ledger {str(path)!r} can't be read: {error}.") from None
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
