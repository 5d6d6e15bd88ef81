"""The site's folder: what is there of ours, and nobody else's files touched.

The folder may have come with a stranger's commit: neither its list of files nor a link in it leads anywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from ...errors import BadFile, BadValue
from ...storage.files import is_file, is_folder, is_taken, make_folder, make_writable, write_bytes, writing
from ...storage.reading import read_json

MANIFEST = "ditbench-site.json"  # the names of our files: only these are ever replaced or removed
_LONGEST = 255  # bytes of a name in it; ours have fewer
Content = Callable[[], str | bytes]


def write_files(contents: Mapping[str, Content], folder: Path) -> list[Path]:
    """Write files below a folder, by name, and remove those of the last time that are no more among them.

    Raises `BadValue` where one of them would replace a file that is not ours, `BadFile` where the way to one of them,
    now or at the last time, has a link in it or ends at a folder; before anything is written.
    """
    ours = _ours(folder)
    for name in sorted(ours | contents.keys()):
        _check_way(folder, name)
    for name in sorted(contents):
        if name not in ours and is_taken(folder / name):
            raise BadValue(
                f"The folder {str(folder)!r} has a file {name!r} that is not of a site of ours. Choose another folder."
            )
    make_writable(folder)
    _write_manifest(folder, ours | contents.keys())  # before the files, so that none is ever left without an owner
    for name, content in sorted(contents.items()):
        _write(folder / name, content())
    for name in sorted(ours - contents.keys()):
        if is_taken(folder / name):
            with writing(folder / name):
                (folder / name).unlink()
    _write_manifest(folder, contents)
    return [folder / name for name in sorted([*contents, MANIFEST])]


def _ours(folder: Path) -> set[str]:
    """The names that the manifest lists."""
    path = folder / MANIFEST
    if not is_taken(path):
        return set()
    _check_way(folder, MANIFEST)
    try:
        names = read_json(path, "list")
        sound = isinstance(names, list) and all(isinstance(name, str) and _inside(name) for name in names)
    except BadFile:
        sound = False
    if not sound:
        raise BadFile(f"{str(path)!r} is no list of a site's files. Remove it and the site, or choose another folder.")
    return set(names)


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    whole = not path.is_absolute() and ".." not in path.parts and str(path) == name != "."
    return whole and name.isprintable() and "\\" not in name and len(name.encode()) <= _LONGEST


def _check_way(folder: Path, name: str) -> None:
    """`BadFile` if a name leads out of the folder, or there is something else where the site has a file or a folder."""
    path = folder / name
    for way in (path, *path.parents[: len(PurePosixPath(name).parts)]):
        what = "a link" if way.is_symlink() else "a folder" if is_folder(way) else "a file" if is_taken(way) else ""
        if what not in ("", "a file" if way == path else "a folder"):
            wanted = "file" if way == path else "folder"
            raise BadFile(f"{str(way)!r} is {what}, where a site has a {wanted}. Remove it, or choose another folder.")


def _write_manifest(folder: Path, names: Iterable[str]) -> None:
    _write(folder / MANIFEST, json.dumps(sorted(names), indent=0) + "\n")


def _write(path: Path, content: str | bytes) -> None:
    """Write what is not there already."""
    wanted = content.encode("utf-8") if isinstance(content, str) else content
    if is_file(path) and path.stat().st_size == len(wanted) and path.read_bytes() == wanted:
        return
    make_folder(path.parent)
    write_bytes(path, wanted)
