"""The site's folder: what is there of ours, and nobody else's files touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from ...errors import BadFile, BadValue
from ...storage.files import exists, is_file, make_folder, make_writable, write_bytes, writing
from ...storage.reading import read_json

MANIFEST = "ditbench-site.json"  # the names of our files: only these are ever replaced or removed
Content = Callable[[], str | bytes]


def write_files(contents: Mapping[str, Content], folder: Path) -> list[Path]:
    """Write files below a folder, by name, and remove those of the last time that are no more among them.

    Raises `BadValue` where one of them would replace a file that is not ours, before anything is written.
    """
    ours = _ours(folder)
    for name in sorted(contents):
        if name not in ours and exists(folder / name):
            raise BadValue(
                f"The folder {str(folder)!r} has a file {name!r} that is not of a site of ours. Choose another folder."
            )
    make_writable(folder)
    _write_manifest(folder, ours | contents.keys())  # before the files, so that none is ever left without an owner
    for name, content in sorted(contents.items()):
        _write(folder / name, content())
    for name in sorted(ours - contents.keys()):
        with writing(folder / name):
            (folder / name).unlink(missing_ok=True)
    _write_manifest(folder, contents)
    return [folder / name for name in sorted([*contents, MANIFEST])]


def _ours(folder: Path) -> set[str]:
    """The names that the manifest lists."""
    path = folder / MANIFEST
    if not exists(path):
        return set()
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
    return not path.is_absolute() and ".." not in path.parts and str(path) == name and "\\" not in name


def _write_manifest(folder: Path, names: Iterable[str]) -> None:
    _write(folder / MANIFEST, json.dumps(sorted(names), indent=0) + "\n")


def _write(path: Path, content: str | bytes) -> None:
    """Write what is not there already."""
    wanted = content.encode("utf-8") if isinstance(content, str) else content
    if is_file(path) and path.stat().st_size == len(wanted) and path.read_bytes() == wanted:
        return
    make_folder(path.parent)
    write_bytes(path, wanted)
