"""Where a network's error was raised: the deepest lines of the plugin and of its libraries, and the layer."""

from __future__ import annotations

import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

from torch import nn

_OURS = Path(__file__).parents[2]  # the package ditbench
_PYTHON = Path(sysconfig.get_path("stdlib"))
_SITE = "site-packages"


def where(error: BaseException) -> str:
    """E.g. ``blocks.py:40 forward, layer 'blocks.0', and there torch/nn/functional.py:2546 embedding``."""
    place, frames = place_of(error), _theirs(error)
    deeper = frames and _root(frames[-1].filename) != _root(frames[0].filename)
    return f"{place}, and there {_place(frames[-1])}" if deeper else place


def place_of(error: BaseException) -> str:
    """The deepest line of the plugin's own, and the layer; empty if the error never came there."""
    frames = _theirs(error)
    if not frames:
        return ""
    root = _root(frames[0].filename)
    return _place(next(frame for frame in reversed(frames) if _root(frame.filename) == root)) + _layer(error)


def told_whole(error: BaseException) -> str:
    """The traceback from the plugin's first line on."""
    frames = _theirs(error)
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    return "".join([*lines, *traceback.format_exception_only(error)])


def _theirs(error: BaseException) -> list[traceback.FrameSummary]:
    """The lines from the plugin's first one on; where torch.compile has traced it, those that it was at."""
    traced = list(getattr(error, "real_stack", None) or [])
    frames = traced or list(traceback.extract_tb(error.__traceback__))
    first = next((place for place, frame in enumerate(frames) if _is_plugins(frame.filename)), len(frames))
    return frames[first:]


def _is_plugins(file: str) -> bool:
    """Whether a line that is reached from our own first may be a plugin's: torch only passes the call on."""
    path = Path(file)
    if path.is_relative_to(_OURS):  # which a wheel puts among the others
        return False
    if _SITE in path.parts:
        return _root(file).name != "torch"
    return not file.startswith("<") and not path.is_relative_to(_PYTHON)


def _root(file: str) -> Path:
    """The folder of the package that a file is installed with, or the one that it lies in."""
    path = Path(file)
    if _SITE not in path.parts:
        return path.parent
    return Path(*path.parts[: path.parts.index(_SITE) + 2])


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    installed = _SITE in path.parts
    name = "/".join(path.parts[path.parts.index(_SITE) + 1 :]) if installed else path.name
    return f"{name}:{frame.lineno} {frame.name}"


def layer_at_work() -> nn.Module | None:
    """The layer whose forward pass has led here."""
    return next(_layers(sys._getframe(1)), None)


def in_layer(network: nn.Module, layer: nn.Module | None) -> str:
    """Its name in the network, to be put behind a finding; empty if it has none there."""
    name = next((name for name, module in network.named_modules() if module is layer), "")
    return f" in layer {name!r}" if name else ""


def _layers(frame: FrameType | None) -> Iterator[nn.Module]:
    while frame is not None:
        if isinstance(module := frame.f_locals.get("self"), nn.Module):
            yield module
        frame = frame.f_back


def _layer(error: BaseException) -> str:
    """The layer that an error was raised in."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [module for frame in frames if isinstance(module := frame.f_locals.get("self"), nn.Module)]
    if not modules:
        return ""
    traced = getattr(error, "real_stack", None)
    deepest = _traced_layer(modules[0], traced) if traced else modules[-1]
    return in_layer(modules[0], deepest).replace(" in layer", ", layer")


def _traced_layer(network: nn.Module, traced: traceback.StackSummary) -> nn.Module | None:
    """The first layer whose forward pass has the deepest line that was traced; others may be of its kind."""
    for frame in reversed(traced):
        for module in network.modules():
            if _has(inspect.unwrap(type(module).forward).__code__, frame):
                return module
    return None


def _has(code: CodeType, frame: traceback.FrameSummary) -> bool:
    lines = [line for *_, line in code.co_lines() if line is not None]
    inside = frame.lineno is not None and min(lines) <= frame.lineno <= max(lines)
    return inside and (code.co_filename, code.co_name) == (frame.filename, frame.name)
