"""The plugins that are installed, before any of them is loaded: where each came from, and what it asks for.

A plugin asks for a version of ditbench as any distribution does, by ``dependencies = ["ditbench>=0.2"]``: that is the
version of the plugins' interface. pip checks it once, when it installs; here it is checked every time, and before the
plugin is imported, since what is too new often fails in ways that do not say so.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from . import builtins
from .errors import UnknownName

GROUP = "ditbench"
ONLY = "DITBENCH_PLUGINS"  # names of plugins, separated by commas: no other is loaded


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


def installed_sources() -> list[PluginSource]:
    """The built-ins and then the plugins, by distribution and name.

    `UnknownName` if ``DITBENCH_PLUGINS`` names what is not installed.
    """
    ours = importlib.metadata.distribution("ditbench")
    builtin = PluginSource("builtins", "ditbench", ours.version, lambda: builtins, place=_place(ours))
    found = sorted(map(_source, _entry_points()), key=lambda source: (source.distribution, source.name))
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
    return sorted({ep.name for ep in _entry_points() if only and ep.name not in only})


def _entry_points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=GROUP)


def _source(entry_point: importlib.metadata.EntryPoint) -> PluginSource:
    dist, module = entry_point.dist, entry_point.module
    if dist is None:  # made by hand, not by an installer
        return PluginSource(entry_point.name, "?", "?", entry_point.load, module)
    unmet = _unmet(dist)
    too_new = unmet.pop("ditbench", "")
    place, others = _place(dist), tuple(unmet.values())
    return PluginSource(entry_point.name, dist.name, dist.version, entry_point.load, module, place, too_new, others)


def _place(dist: importlib.metadata.Distribution) -> str:
    """The folder of an editable installation's sources (PEP 610), or the one that holds the installed files."""
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return f"editable: {unquote(urlsplit(origin['url']).path)}"
    return str(dist.locate_file(""))


def _unmet(dist: importlib.metadata.Distribution) -> dict[str, str]:
    """By distribution: requirements, extras' aside, that are not installed, or in another version."""
    found = {}
    for requirement in map(Requirement, dist.requires or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, version = str(canonicalize_name(requirement.name)), version_or_none(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            found[name] = f"{name}{requirement.specifier}, and here is {version or 'none'}"
    return found


def version_or_none(distribution: str) -> str | None:
    """The version of a distribution that is installed here; None if it is not."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
