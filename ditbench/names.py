"""Names and references of components, checked where a record is built. They reach file names, tables and imports."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .errors import BadValue

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PLUSSED = re.compile(_NAME.pattern + r"\+*")  # samplers: dpm-solver++
_SIZE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_REFERENCES = ("build", "convert_reference", "native", "load", "open", "make", "sample", "times", "measure")  # fields
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def check_name(kind: str, name: object) -> None:
    """Names reach file names and tables, so they are short, lower-case and free of separators."""
    pattern = _PLUSSED if kind == "sampler" else _NAME
    if not isinstance(name, str) or not pattern.fullmatch(name) or len(name) > 64:
        raise BadValue(f"{name!r} can't be the name of this {kind}: use up to 64 of a-z, 0-9, '.', '_', '-'.")


def check_size(architecture: str, size: object) -> None:
    """Sizes have capitals, too, and one `/`, as papers write them."""
    if not isinstance(size, str) or not _SIZE.fullmatch(size):
        raise BadValue(f"architecture {architecture!r}: {size!r} can't name a size.")


def check_reference(kind: str, name: str, reference: object) -> None:
    """A reference must be a callable or look like ``"package.module:name"``."""
    if callable(reference) or (isinstance(reference, str) and _REFERENCE.fullmatch(reference)):
        return
    raise BadValue(f"{kind} {name!r}: {reference!r} is neither a callable nor 'package.module:name'.")


def references(component: object) -> dict[str, str | Callable[..., Any]]:
    """By field: what a component names or holds that is imported on first use."""
    found = {name: getattr(component, name, None) for name in _REFERENCES}
    return {name: reference for name, reference in found.items() if reference is not None}
