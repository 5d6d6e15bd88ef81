"""The plugins that are installed, before any of them is loaded: where each came from, and what it asks for.

A plugin asks for a version of ditbench as any distribution does, by ``dependencies = ["ditbench>=0.2"]``: that is the
version of the plugins' interface. pip checks it once, when it installs; here it is checked every time, and before the
plugin is imported, since what is too new often fails in ways that do not say so.

What installers have written may be of anybody, cut off or damaged. It is read one distribution at a time, and only
where it is needed; what can't be read is left out and named, and hides nothing else. Libraries read it, too, unguarded:
see `spare_libraries`.
"""

from __future__ import annotations

import csv
import email.parser
import inspect
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from . import builtins
from .errors import DitbenchError, UnknownName, one_line

GROUP = "ditbench"
ONLY = "DITBENCH_PLUGINS"  # names of plugins, separated by commas: no other is loaded

_ENTRY_POINTS, _ORIGIN = "entry_points.txt", "direct_url.json"
_METADATA = ("METADATA", "PKG-INFO", "")  # "": old ones are a file themselves
_UNREADABLE = (OSError, ValueError, KeyError)  # ValueError: no UTF-8; KeyError: not in its zip
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,63}", re.ASCII)
_PLUGIN = re.compile(r"[\w.-]+", re.ASCII)
_EDITABLE = "editable: "
_LEFTOVER = "it is what an interrupted pip left of another"


class Unreadable(Exception):
    """What is wrong with a distribution's metadata, in one line."""


@dataclass(frozen=True)
class PluginSource:
    """A plugin before it is loaded."""

    name: str
    distribution: str
    version: str
    load: Callable[[], object]
    module: str = ""
    place: str = ""  # the folder that it is installed in, or, if editable, that of its sources
    too_new: str = ""  # what it asks of ditbench that this version is not
    unmet: tuple[str, ...] = ()  # other requirements of its distribution that this environment does not meet
    unreadable: str = ""  # why what its installer wrote can't be read
    apart: bool = False  # whether its module is imported in a process of its own

    @property
    def label(self) -> str:
        """The plugin as messages name it."""
        return f"plugin {self.name!r} of {self.distribution} {self.version}"


@dataclass(frozen=True)
class Damaged:
    """A distribution that is no plugin, as far as can be seen, and can't be read."""

    distribution: str
    place: str  # the folder or file of its metadata
    why: str


def installed_sources() -> list[PluginSource]:
    """The built-ins and then the plugins, by distribution and name.

    `UnknownName` if ``DITBENCH_PLUGINS`` names what is not installed.
    """
    ours = version_or_none("ditbench") or "?"
    place = next(map(_place, _readable("ditbench")), str(Path(__file__).parents[1]))
    builtin = PluginSource("builtins", "ditbench", ours, lambda: builtins, place=place)
    found = sorted(_sources(), key=lambda source: (source.distribution, source.name))
    only = chosen()
    for name in only:
        if name not in {source.name for source in found}:
            raise UnknownName(f"plugin (asked for by {ONLY})", name, {source.name for source in found})
    return [builtin, *(source for source in found if not only or source.name in only)]


def chosen() -> list[str]:
    """The plugins that ``DITBENCH_PLUGINS`` names; none: all are loaded."""
    return [name.strip() for name in os.environ.get(ONLY, "").split(",") if name.strip()]


def left_out() -> list[str]:
    """The plugins that are installed and not loaded because ``DITBENCH_PLUGINS`` does not name them."""
    only = chosen()
    return sorted({source.name for source in _sources() if only and source.name not in only})


def plugin_distributions() -> dict[str, Distribution]:
    """By name: the distributions of plugins, and ditbench itself, as far as their metadata can be read."""
    plugins = [dist for dist in _distributions() if not _why_not(dist) and _lines_of_plugins(dist)]
    return {_name(dist): dist for dist in (*plugins, *_readable("ditbench"))}


def damaged() -> list[Damaged]:
    """Everything that is installed and can't be read, or that lies beside another of its name.

    One that hides another in a folder further down the path is no fault: environments overlay each other so.
    """
    faults = [(dist, _why_not(dist) or _breaks_libraries(dist)) for dist in _all()]
    times = Counter((_key(dist), _folder(dist)) for dist, why in faults if not why)
    twice = "it is installed more than once in one folder, and the first that Python finds is taken"
    told = ((dist, why or (twice if times[_key(dist), _folder(dist)] > 1 else "")) for dist, why in faults)
    return [Damaged(_stem(dist), _path(dist), why) for dist, why in told if why]


def version_or_none(distribution: str) -> str | None:
    """The version of a distribution that is installed here; None if it is not, or if that can't be read."""
    return next((_version(dist) for dist in _readable(distribution)), None)


def version(distribution: str) -> str:
    """The version of a distribution that ditbench can't do without; a `DitbenchError` if it can't be told."""
    found = version_or_none(distribution)
    if found is not None:
        return found
    leftovers = [f"{_path(dist)!r}: {_why_not(dist)}" for dist in _discover(name=distribution)]
    why = f" ({'; '.join(leftovers)})" if leftovers else ""
    raise DitbenchError(
        f"The version of {distribution} that is installed can't be told{why}, and records name it. "
        f"{'Remove that, and install' if leftovers else 'Install'} {distribution} with pip."
    )


def spare_libraries() -> None:
    """From here on, libraries of this process do not see distributions that would break them.

    pydantic, torch and triton ask all distributions at once, while they are imported, and one that is damaged would end
    in a traceback of theirs, or never.
    """
    if any(map(_breaks_libraries, _all())):
        Distribution.discover = _harmless  # type: ignore[method-assign]


_discover = Distribution.discover  # as it is, whatever libraries are shown


def _harmless(**asked: Any) -> Iterator[Distribution]:
    return (dist for dist in _discover(**asked) if not _breaks_libraries(dist))


def _breaks_libraries(dist: Distribution) -> str:
    """What ends `importlib.metadata.entry_points` for all who call it; empty: nothing."""
    if _stem(dist) == "?" and (why := _why_not(dist)):
        return why
    try:
        _text(dist, _ENTRY_POINTS)
        tuple(dist.entry_points)
    except Exception as error:  # whatever it is, they meet it
        return one_line(error) if isinstance(error, Unreadable) else f"its {_ENTRY_POINTS} has a line of no form"
    return ""


def metadata_text(dist: Distribution) -> str:
    """Its metadata, under whichever name; empty without any. `Unreadable` if it can't be read."""
    return next(filter(None, (_text(dist, file) for file in _METADATA)), "")


def readable() -> list[Distribution]:
    """All distributions whose metadata can be read, each name once."""
    return [dist for dist in _distributions() if not _why_not(dist)]


def editable_folder(dist: Distribution) -> Path | None:
    """Where the sources of an editable installation lie (PEP 610); None: it is none, or that can't be read."""
    place = _place(dist)
    return Path(place.removeprefix(_EDITABLE)) if place.startswith(_EDITABLE) else None


def owners() -> dict[str, set[str]]:
    """By what Python imports, its first name: the distributions that brought it, as far as they can be read."""
    found: dict[str, set[str]] = {}
    for dist in _all():
        if not _why_not(dist):
            for module in _modules(dist):
                found.setdefault(module, set()).add(_name(dist))
    return found


def _all() -> list[Distribution]:
    """Once each, though a folder may stand on the path twice."""
    return list({_path(dist): dist for dist in _discover()}.values())


def _distributions() -> list[Distribution]:
    """All, each name once: the one that Python finds first, unless it can't be read and a later one can."""
    found: dict[str, Distribution] = {}
    for dist in _all():
        if found.setdefault(_key(dist), dist) is not dist and _why_not(found[_key(dist)]) and not _why_not(dist):
            found[_key(dist)] = dist
    return list(found.values())


def _readable(name: str) -> Iterator[Distribution]:
    """The distributions of a name that can be read, as Python finds them."""
    for dist in _discover(name=name):
        if not _why_not(dist):
            yield dist


def _sources() -> Iterator[PluginSource]:
    for dist in _distributions():
        try:
            lines = _lines_of_plugins(dist)
        except Unreadable as fault:  # it may be a plugin, or not
            yield _unreadable(_stem(dist), dist, str(fault))
            continue
        for name, value in lines:
            yield _source(name, value, dist)


def _source(name: str, value: str, dist: Distribution) -> PluginSource:
    entry_point = EntryPoint(name, value, GROUP)
    if (why := _why_not(dist)) or (why := _no_entry_point(entry_point)):
        return _unreadable(name, dist, why)
    unmet = _unmet(dist)
    too_new = unmet.pop("ditbench", "")
    place, others = _place(dist), tuple(unmet.values())
    about = (name, _name(dist), _version(dist), entry_point.load, entry_point.module)
    return PluginSource(*about, place, too_new, others, apart=True)


def _unreadable(name: str, dist: Distribution, why: str) -> PluginSource:
    name = name if _PLUGIN.fullmatch(name) else _stem(dist)
    return PluginSource(name, _stem(dist), "?", lambda: None, place=_path(dist), unreadable=why)


def _no_entry_point(entry_point: EntryPoint) -> str:
    """What is wrong with a line that names a plugin; empty: nothing."""
    line = f"{entry_point.name} = {entry_point.value}"
    if not _PLUGIN.fullmatch(entry_point.name):
        return f"{line!r} in its {_ENTRY_POINTS} names no plugin"
    module = entry_point.value.partition(":")[0].partition("[")[0].strip()
    whole = EntryPoint.pattern.match(entry_point.value) and all(part.isidentifier() for part in module.split("."))
    return "" if whole else f"{line!r} in its {_ENTRY_POINTS} names no module"


def _lines_of_plugins(dist: Distribution) -> list[tuple[str, str]]:
    """(name, value) of our entry points; lines of other groups are not looked at."""
    if _stem(dist).startswith("~"):
        return []
    section, found = "", []
    for line in map(str.strip, _text(dist, _ENTRY_POINTS).splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == GROUP and line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found.append((name.strip(), value.strip()))
    return found


def _text(dist: Distribution, file: str) -> str:
    """A file of its metadata, empty without one; `Unreadable` if it can't be read."""
    try:
        path = Path(_path(dist), file)
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError("it is no file")  # a pipe would be waited for
        return dist.read_text(file) or ""
    except _UNREADABLE as error:
        raise Unreadable(f"its {file or 'file'} can't be read: {one_line(error)[:200]}") from None


def _fields(dist: Distribution) -> email.message.Message:
    """Name, version and requirements."""
    return _parsed(metadata_text(dist))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> email.message.Message:
    """Each text is asked for many times: to parse it took a third of the time that all plugins take to be found."""
    return email.parser.HeaderParser().parsestr(text)


def _name(dist: Distribution) -> str:
    return str(_fields(dist)["Name"])


def _version(dist: Distribution) -> str:
    return str(_fields(dist)["Version"])


def _why_not(dist: Distribution) -> str:
    """Why a distribution's metadata can't be read or used, in one line; empty: it can."""
    if _stem(dist).startswith("~"):
        return _LEFTOVER
    try:
        fields = _fields(dist)
        _text(dist, _ENTRY_POINTS)
    except Unreadable as fault:
        return str(fault)
    if not fields:
        return f"its {_METADATA[0]} is missing, empty, or not for us to read"
    for field, form in (("Name", _NAME), ("Version", _VERSION)):
        value = fields[field]
        if value is None:
            return f"its {_METADATA[0]} has no {field}"
        if not form.fullmatch(str(value)):
            return f"its {_METADATA[0]} has a {field} that is none: {one_line(value)[:100]!r}"
    return ""


def _folder(dist: Distribution) -> str:
    """The one that holds the installed files."""
    return str(dist.locate_file(""))


def _path(dist: Distribution) -> str:
    """Where its metadata lies; where its modules lie if that is not said."""
    path = getattr(dist, "_path", None)
    return _folder(dist) if path is None else str(path)


def _stem(dist: Distribution) -> str:
    """Its name as the file system has it."""
    return Path(_path(dist)).name.rpartition(".")[0].partition("-")[0] or "?"


def _key(dist: Distribution) -> str:
    return canonicalize_name(_stem(dist))


def _place(dist: Distribution) -> str:
    """The folder of an editable installation's sources (PEP 610), or the one that holds the installed files."""
    folder = _folder(dist)
    try:
        origin = json.loads(_text(dist, _ORIGIN) or "{}")
        if origin.get("dir_info", {}).get("editable"):
            return f"{_EDITABLE}{unquote(urlsplit(origin['url']).path)}"
    except (Unreadable, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return f"{folder} (its {_ORIGIN} can't be read)"
    return folder


def _unmet(dist: Distribution) -> dict[str, str]:
    """By distribution: requirements, extras' aside, that are not installed, or in another version, or not readable."""
    found = {}
    for text in requirements(dist):
        try:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            name, fault = str(canonicalize_name(requirement.name)), _not_met(requirement)
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName, InvalidVersion, RecursionError):
            name, fault = text, f"{one_line(text)[:100]!r}, which can't be read"
        if fault:
            found[name] = fault
    return found


def requirements(dist: Distribution) -> list[str]:
    """As they stand in its metadata, or in the file that old ones have."""
    found = [str(text) for text in _fields(dist).get_all("Requires-Dist") or ()]
    try:
        return found or (list(dist.requires or ()) if _text(dist, "requires.txt") else [])
    except Unreadable:
        return ["all of its requires.txt"]


def _not_met(requirement: Requirement) -> str:
    here = version_or_none(requirement.name)
    if here is not None and requirement.specifier.contains(here, prereleases=True):
        return ""
    return f"{canonicalize_name(requirement.name)}{requirement.specifier}, and here is {here or 'none'}"


def _modules(dist: Distribution) -> set[str]:
    """What it says, or else the first parts of the paths of its files."""
    try:
        declared, record = _text(dist, "top_level.txt").split(), _text(dist, "RECORD")
        paths = [row[0] for row in csv.reader(record.splitlines()) if row]
    except (Unreadable, csv.Error):
        return set()
    names = {path.split("/")[0] if "/" in path else inspect.getmodulename(path) or "" for path in paths}
    return set(declared) or {name for name in names if name.isidentifier()}
