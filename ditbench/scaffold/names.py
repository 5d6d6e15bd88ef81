"""What a new plugin may be, and what it may be called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import BadValue

if TYPE_CHECKING:
    from ..registry import Registry

Kind = Literal["architecture", "dataset", "objective", "sampler", "metric", "track"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_NAME, _LONGEST = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*"), 40


def component_name(name: str) -> str:
    """The name that a package's component, entry point and track have: ``my-arch`` is ``my_arch``."""
    return name.replace("-", "_")


def check_new_name(name: str, registry: Registry) -> None:
    """`BadValue` if no package can have this name, or if something that is installed has it."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        near = "-".join(re.findall("[a-z0-9]+", name.lower())).lstrip("0123456789-")[:_LONGEST].rstrip("-")
        hint = f" {near!r} would do." if near else ""
        raise BadValue(
            f"{name!r} can't name a plugin: use up to {_LONGEST} of a-z, 0-9, '-' and '_', with a letter first.{hint}"
        )
    if name.startswith(("ditbench-", "ditbench_")) or name == "ditbench":
        raise BadValue(
            f"{name!r} can't name a plugin: the package is called ditbench-NAME anyway; leave the prefix out."
        )
    wanted = component_name(name)
    for kind in KINDS:
        if wanted in getattr(registry, f"{kind}s"):
            raise BadValue(
                f"{kind.capitalize()} {wanted!r} is installed already (see `ditbench plugins`); take another name."
            )
    if any(plugin.name == wanted for plugin in registry.plugins):
        raise BadValue(f"Plugin {wanted!r} is installed already (see `ditbench plugins`); take another name.")
