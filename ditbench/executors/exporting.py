"""An export in a process of its own, where the plugin's code takes part in it."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from typing import Any

import torch

from ..asking import ask_of
from ..export.request import Request, export
from ..registry import Registry

__all__ = ["Request", "export_apart"]


def export_apart(request: Request, registry: Registry) -> str:
    """Export, and tell of what; where the plugin's code breaks or ends the process, a `PluginFault` says so."""
    request.check()
    like = request.like and request.like.absolute()  # a plugin may change the working directory
    whole = replace(request, source=request.source.absolute(), out=request.out.absolute(), like=like)
    return str(ask_of(str(request.source), _in_a_fork, whole, registry, seconds=None))


def _in_a_fork(request: Request, registry: Registry) -> str:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    signal.signal(signal.SIGTERM, _leave)
    return export(request, registry)


def _leave(*_: Any) -> None:
    """Whoever asked was interrupted: leave nothing half-written behind."""
    sys.exit(1)
