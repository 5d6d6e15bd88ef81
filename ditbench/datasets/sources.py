"""From the name of a place to a listing of what lies there."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadValue
from ..storage.files import is_folder, whole_path
from .folder import list_folder
from .hub import SCHEMES, list_hub
from .raw import Cut, RawImages


def list_source(place: str, skip_bad: bool = False, offline: bool = False, cut: Cut | None = None) -> RawImages:
    """The images of a folder, or of ``hf:NAME``, before any is read; with `cut`, the videos of a folder."""
    if place.partition(":")[0] not in SCHEMES:
        return list_folder(Path(place), cut)
    if cut is not None:
        raise BadValue(f"{place!r} has images, and clips are cut out of videos: give a folder of those.")
    return list_hub(place, skip_bad, offline)


def check_apart(place: str, folder: Path) -> None:
    """`BadValue` if shards in that folder would lie among the images."""
    scheme, _, rest = place.partition(":")
    source = whole_path(rest if scheme in SCHEMES else place)
    if is_folder(source) and whole_path(folder).is_relative_to(source):
        raise BadValue(f"The folder {str(folder)!r} lies in {place!r}, among the images: choose another with `out`.")
