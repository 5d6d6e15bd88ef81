"""What a folder of images or of videos holds, by one rule for training and for metrics.

The rule, as docs/data.md has it: hidden entries don't count. Images and videos are known by the ends of their names,
whatever their case; other files are left out, and whoever reads the folder says so. Links count as what they lead to.
An image must be a file, and its name UTF-8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import BadFile
from ..storage.files import whole_path
from ..storage.reading import open_regular
from .decoding import SUFFIXES

MOST_BYTES = 2**29  # of an encoded image: the largest, with an alpha channel and not packed at all, has less


class Kind(NamedTuple):
    """What a data set is made of, and how its files are known by their names."""

    noun: str
    article: str
    suffixes: tuple[str, ...]


IMAGES = Kind("image", "an", SUFFIXES)
VIDEOS = Kind("video", "a", (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"))


class Trace(NamedTuple):
    """What tells a file from another without reading it. Times of content can be set; that of the state can not."""

    size: int
    changed: int  # its content, in ns; as archives and rsync set it
    inode: int
    state: int  # the last change of state, in ns


class Found(NamedTuple):
    """An image or a video in a folder."""

    name: str
    trace: Trace


@dataclass(frozen=True)
class Entries:
    """What a folder holds, but for hidden entries; each sorted by name."""

    files: tuple[Found, ...]  # of the kind that is looked for
    folders: tuple[str, ...]
    others: tuple[str, ...]  # files that are of another kind by their names


def look_into(folder: Path, kind: Kind = IMAGES) -> Entries:
    """What a folder holds; no file is opened. `BadFile` names what can't be read, or can't be what it is called."""
    files, folders, others = [], [], []
    for entry in _visible(folder):
        if _is_folder(entry):
            check_name(entry.path)
            folders.append(entry.name)
        elif entry.name.lower().endswith(kind.suffixes):
            check_name(entry.path)
            files.append(Found(entry.name, trace_of(Path(entry.path))))
        else:
            others.append(entry.name)
    return Entries(tuple(sorted(files)), tuple(sorted(folders)), tuple(sorted(others)))


def look_through(folder: Path) -> Iterator[tuple[Path, Entries]]:
    """A folder and all below it, links included; `BadFile` names a link to what was there already."""
    waiting, known = [folder], dict[tuple[int, int], Path]()
    while waiting:
        here = waiting.pop()
        entries = look_into(here)
        seen = here.stat()
        place = (seen.st_dev, seen.st_ino)
        if place in known:
            raise BadFile(f"{str(here)!r} is the folder {str(known[place])!r} once more; remove the link.")
        known[place] = here
        yield here, entries
        waiting += [here / name for name in entries.folders]


def trace_of(path: Path) -> Trace:
    """What is known of a file without reading it; `BadFile` if it can't be read, or is none, such as a pipe."""
    try:
        found = path.stat()
    except OSError as error:
        raise BadFile(f"{str(path)!r} can't be read ({error.strerror}).") from None
    if not stat.S_ISREG(found.st_mode):
        raise BadFile(f"{str(path)!r} is no file, but a pipe, a device or the like; move it away.")
    return Trace(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def read_image(path: Path, most: int = MOST_BYTES) -> bytes:
    """The encoded image or video in a file; `BadFile` if that is none, or can't be read. It never waits for a pipe."""
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
    except OSError as error:
        raise BadFile(f"{str(path)!r} can't be read ({error.strerror}).") from None
    if len(content) > most:
        raise BadFile(f"{str(path)!r} has more than the {most:,} bytes that are read of an image or a video.")
    return content


def check_name(path: str) -> None:
    """`BadFile` if a path can't be written down, as records and manifests do."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise BadFile(f"{path!r} has a name that is not UTF-8; rename it.") from None


def check_place(folder: Path) -> None:
    """The same of a folder and the way to it."""
    check_name(str(whole_path(folder)))


def told(others: Sequence[str], kind: Kind = IMAGES) -> str:
    """A line about the files of those paths, which were left out; empty if there are none."""
    if not others:
        return ""
    are = "1 file is left out: it is" if len(others) == 1 else f"{len(others):,} files are left out: they are"
    return f"{are} no {kind.noun} by name ({', '.join(kind.suffixes)}), e.g. {others[0]!r}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # links in a circle
        raise BadFile(f"{entry.path!r} can't be read ({error.strerror}).") from None


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, in no order, without hidden entries."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise BadFile(f"The folder {str(folder)!r} can't be read ({error.strerror}).") from None
