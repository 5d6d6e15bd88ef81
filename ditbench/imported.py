"""The distributions that a network's code is imported from, beside its plugin and all that ditbench requires.

A plugin may wrap another package, whose files make the network as much as its own. They are found where the plugin's
modules are imported, by what Python has loaded since.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from importlib.machinery import all_suffixes
from importlib.metadata import Distribution
from itertools import accumulate
from pathlib import Path

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .discovery import editable_folder, readable, requirements

Library = tuple[str, str, str]  # name, version, sha256 of its code; without a distribution the package's name, and ""

_CODE = tuple(all_suffixes())


def imported_by(build: Callable[[], object], own: Collection[str]) -> list[Library]:
    """What building a network imports, asked in a process of its own. `own`: the packages of its plugin.

    A network that can't be built is left to whoever needs it.
    """
    before = set(sys.modules)
    with suppress(Exception):
        build()
    known = {*own, "ditbench", *sys.stdlib_module_names}
    loaded = {_outermost(name) for name in sys.modules.keys() - before if name.partition(".")[0] not in known}
    return libraries(_file(name) for name in sorted(loaded - before - {""}))


def libraries(files: Iterable[Path]) -> list[Library]:
    """The distributions of modules and packages, each known by its first file, that ditbench does not require."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    of = list(readable()) if (files := list(files)) else []
    for file in files:
        dist = _owner(file, of)
        found[(dist.name, dist.version) if dist else (_package(file).stem, "")].append(_package(file))
    needed = _required(of)
    return [(*key, _sha256(places)) for key, places in sorted(found.items()) if canonicalize_name(key[0]) not in needed]


def _outermost(module: str) -> str:
    """The first of a module's parents that is more than a folder which distributions share; empty: it has no file."""
    return next((name for name in accumulate(module.split("."), "{}.{}".format) if _has_file(name)), "")


def _has_file(module: str) -> bool:
    return bool(getattr(sys.modules.get(module), "__file__", None))


def _file(module: str) -> Path:
    return Path(str(sys.modules[module].__file__))


def _package(file: Path) -> Path:
    """The folder of a package, or the module itself."""
    return file.parent if file.stem == "__init__" else file


def _owner(file: Path, of: Iterable[Distribution]) -> Distribution | None:
    """The distribution that installed a file; or, if editable, whose folder it lies in: the innermost."""
    folders: list[tuple[int, Distribution]] = []
    shared = []
    for dist in of:
        folder = Path(str(dist.locate_file("")))
        shared.append(folder)
        if file.is_relative_to(folder) and _lists(dist, file.relative_to(folder).as_posix()):
            return dist
        source = editable_folder(dist)
        if source is not None and file.resolve().is_relative_to(source):
            folders.append((len(source.parts), dist))
    if any(file.is_relative_to(folder) for folder in shared):  # an environment may lie in a project's folder
        return None
    return max(folders, key=lambda found: found[0])[1] if folders else None


def _lists(dist: Distribution, path: str) -> bool:
    """Whether a distribution's RECORD has a file."""
    return f"\n{path}," in "\n" + (dist.read_text("RECORD") or "").replace("\r\n", "\n")


def _required(of: Iterable[Distribution]) -> set[str]:
    """All that ditbench requires in any of its forms, and all that this requires in turn."""
    by_name = {str(canonicalize_name(dist.name)): dist for dist in of}
    found: dict[str, set[str]] = {}
    ours = by_name.get("ditbench")
    waiting = [("ditbench", {"", *(ours.metadata.get_all("Provides-Extra") or ())})] if ours else []
    while waiting:
        name, extras = waiting.pop()
        new = extras - found.setdefault(name, set())
        found[name] |= new
        if new and name in by_name:
            waiting += _asked(by_name[name], found[name])
    return set(found)


def _asked(dist: Distribution, extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    for text in requirements(dist):
        with suppress(InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                yield canonicalize_name(one.name), {"", *one.extras}


def _sha256(places: Iterable[Path]) -> str:
    """Of the code below some packages, and of some modules; line ends count as LF."""
    content = hashlib.sha256()
    for place in sorted(set(places)):
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in files:
            if file.name.endswith(_CODE) and not file.name.endswith(".pyc") and file.is_file():
                content.update(file.relative_to(place.parent).as_posix().encode() + b"\0")
                content.update(hashlib.sha256(_bytes(file)).digest())
    return content.hexdigest()


def _bytes(file: Path) -> bytes:
    content = file.read_bytes()
    return content.replace(b"\r\n", b"\n") if file.suffix == ".py" else content
