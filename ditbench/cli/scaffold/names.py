"""What a new plugin may be, and what it may be called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

from ...discovery import left_out, version_or_none
from ...errors import BadValue

if TYPE_CHECKING:
    from ...registry import Registry

PluginKind = Literal["architecture", "dataset", "objective", "sampler", "metric", "track"]
KINDS: tuple[PluginKind, ...] = get_args(PluginKind)

_NAME, _LONGEST = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*"), 40
_WINDOWS = re.compile("con|prn|aux|nul|(com|lpt)[1-9]")  # no folder there can be called so


def component_name(name: str) -> str:
    """The name that a package's component, entry point and track have: ``my-arch`` is ``my_arch``."""
    return name.replace("-", "_")


def distribution_name(name: str) -> str:
    """What pip calls the package: ``my_arch`` is ``ditbench-my-arch``."""
    return f"ditbench-{name.replace('_', '-')}"


def check_new_name(name: str, registry: Registry) -> None:
    """`BadValue` if no package can have this name, or if something that is installed has it."""
    if not _can_be(name):
        near = "-".join(re.findall("[a-z0-9]+", name.lower())).lstrip("0123456789-").removeprefix("ditbench-")
        near = near[:_LONGEST].rstrip("-")
        hint = f" {near!r} would do." if _can_be(near) and not _holder(near, registry) else ""
        raise BadValue(
            f"{name!r} can't name a plugin, whose package is ditbench-NAME: use up to {_LONGEST} of a-z, 0-9, '-' and "
            f"'_', with a letter first, and none that Windows reserves.{hint}"
        )
    holder = _holder(name, registry)
    if holder:
        raise BadValue(
            f"{holder} is installed already (see `ditbench plugins doctor`); uninstall it, or take another name."
        )


def _can_be(name: str) -> bool:
    fits = _NAME.fullmatch(name) and len(name) <= _LONGEST and not _WINDOWS.fullmatch(name)
    return bool(fits) and not name.startswith(("ditbench-", "ditbench_")) and name != "ditbench"


def _holder(name: str, registry: Registry) -> str:
    """What has the name already, loaded or not; empty: nothing."""
    wanted = component_name(name)
    for kind in KINDS:
        if wanted in getattr(registry, f"{kind}s"):
            return f"{kind.capitalize()} {wanted!r}"
    if wanted in {plugin.name for plugin in registry.plugins} | set(left_out()):
        return f"Plugin {wanted!r}"
    package = distribution_name(name)
    return f"Package {package!r}" if version_or_none(package) is not None else ""
