"""What is heavy is named, not imported.

An `ObjectReference` is a callable, or ``"package.module:name"`` that is imported on first use, so that listing
everything costs no ``import torch``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from ..errors import BadValue, DitbenchError, PluginFault, one_line

ObjectReference = str | Callable[..., Any]


def load(reference: ObjectReference) -> Callable[..., Any]:
    """The callable that a reference stands for, importing its module if need be.

    `PluginFault` if that is not ours and can't be imported, whatever it raises.
    """
    if not isinstance(reference, str):
        return reference
    try:
        target = pkgutil.resolve_name(reference)
    except DitbenchError:
        raise
    except (Exception, SystemExit) as error:
        module = module_of(reference)
        if module.partition(".")[0] == __package__.partition(".")[0]:  # a bug
            raise
        raise PluginFault(
            f"{reference!r} can't be loaded: {type(error).__name__}: {one_line(error)}. "
            f"python -c 'import {module}' shows the traceback; mend it, or uninstall its package."
        ) from error
    if not callable(target):
        raise BadValue(f"{reference!r} is not callable.")
    return target  # type: ignore[no-any-return]


def module_of(reference: ObjectReference) -> str:
    """The module that a reference lives in, without importing it."""
    return reference.partition(":")[0] if isinstance(reference, str) else reference.__module__
