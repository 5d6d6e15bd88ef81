"""A plugin's package from templates, which work as they stand but for their name.

``templates/every`` is part of each package, ``templates/tracked`` of each but an architecture's, and a folder named
for the kind has the rest. ``my_plugin`` and ``my-plugin`` stand for the name, in paths and in text. ``my_plugin.toml``
holds what the package's track changes of the digits track.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from pathlib import Path

import tomli_w

from ...errors import BadFile
from ...registry import Registry
from .names import PluginKind, check_new_name, component_name

_TEMPLATES = Path(__file__).with_name("templates")
_HEAD = "# {name}, version 1. Whatever is not here has its default: `ditbench track show {name}` writes it out.\n\n"


def create(name: str, kind: PluginKind, parent: Path, registry: Registry) -> list[Path]:
    """Write the package into the new folder `parent`/`name` and return its files, relative to it.

    The folder is whole or absent. Raises `BadValue` for a name that can't be or is taken, `BadFile` if there is
    something of this name, or if `parent` can't be written.
    """
    check_new_name(name, registry)
    target = parent / name
    if os.path.lexists(target):
        raise BadFile(f"{str(target)!r} is there already, and nothing is overwritten; take another name or folder.")
    files = _files(name, kind)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}.", suffix=".tmp", dir=parent) as folder:
            unfinished = Path(folder) / name
            for path, text in files.items():
                (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
                (unfinished / path).write_text(text, encoding="utf-8")
            unfinished.rename(target)  # fails if somebody has just put files there
    except OSError as error:
        raise BadFile(f"{str(target)!r} can't be written: {error.strerror}.") from None
    return list(files)


def _files(name: str, kind: PluginKind) -> dict[Path, str]:
    """What is written: paths in the package -> texts."""
    layers = ("every", kind) if kind == "architecture" else ("every", "tracked", kind)
    found = {}
    for layer in layers:
        for path in sorted((_TEMPLATES / layer).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:  # pip compiles what it installs
                place = Path(_named(str(path.relative_to(_TEMPLATES / layer)), name))
                text = _named(path.read_text(encoding="utf-8"), name)
                found[place] = _whole_track(text, name) if path.name == "my_plugin.toml" else text
    return dict(sorted(found.items()))


def _named(text: str, name: str) -> str:
    component = component_name(name)
    return text.replace("my_plugin", component).replace("my-plugin", component.replace("_", "-"))


def _whole_track(changes: str, name: str) -> str:
    """The digits track with tables of `changes` laid over its own."""
    track = tomllib.loads((_TEMPLATES.parents[2] / "tracks" / "digits.toml").read_text(encoding="utf-8"))
    del track["seeds"]  # an example needs no more than the usual three
    track |= {"name": component_name(name), "version": 1}
    for key, value in tomllib.loads(changes).items():
        track[key] = {**track[key], **value} if isinstance(value, dict) else value
    return _HEAD.format(name=component_name(name)) + tomli_w.dumps(track)
