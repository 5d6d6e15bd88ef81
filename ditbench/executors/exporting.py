"""An export in a process of its own, where the plugin's code takes part in it."""

from __future__ import annotations

import torch

from ..asking import ask_of
from ..export.request import Request, export
from ..registry import Registry

__all__ = ["Request", "export_apart"]


def export_apart(request: Request, registry: Registry) -> str:
    """Export, and tell of what; where the plugin's code breaks or ends the process, a `PluginFault` says so."""
    request.check()
    return str(ask_of(str(request.source), _in_a_fork, request, registry, seconds=None))


def _in_a_fork(request: Request, registry: Registry) -> str:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    return export(request, registry)
