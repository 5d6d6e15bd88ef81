"""The extras of ditbench: what its light form lacks, and the command that installs something in this environment.

The light form, `pip install ditbench`, lists what there is, checks records and makes tables of them. What trains and
measures needs the libraries of the extra ``run``, of which torch stands for all.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .builtins import REFERENCE_ARCHITECTURES
from .errors import DitbenchError

_CHECKOUT = Path(__file__).parents[1]  # or site-packages


def is_light() -> bool:
    """Whether the extra ``run`` is not installed here."""
    return importlib.util.find_spec("torch") is None


def require_run(who: str) -> None:
    """A `DitbenchError` with the way out, where the extra ``run`` is not installed."""
    if is_light():
        raise DitbenchError(f"{who} needs torch, which is not installed here: {install('ditbench[run]')}")


def install(*what: str, editable: bool = False) -> str:
    """The command that installs requirements, or folders if `editable`, in the environment of this process."""
    if is_uv_project() and not _is_clone():
        return shlex.join(["uv", "add", *(["--editable"] if editable else []), *what])
    pip = ["pip"] if _has_pip() else ["uv", "pip"]
    return shlex.join([*pip, "install", *(word for one in what for word in ([*(["-e"] if editable else []), one]))])


def way_to(architecture: str, installed: Mapping[str, Any]) -> str:
    """How a network is had that no installed architecture has the name of; nothing of one that nobody knows.

    One of them may have it by another name. A reference architecture is a distribution of its own, to be installed.
    """
    for one in installed.values():
        if architecture in one.also:
            return f" {one.also[architecture]}"
    if architecture not in REFERENCE_ARCHITECTURES:
        return ""
    return f" {', '.join(REFERENCE_ARCHITECTURES)} come with: {install('ditbench[reference]')}"


def is_uv_project() -> bool:
    """Whether the environment is that of a project which `uv sync` keeps as its lock file says."""
    return not _has_pip() and (Path(sys.prefix).parent / "uv.lock").is_file()


def prefix() -> str:
    """What stands before a command of ditbench's, where this one was started by `uv run`."""
    return "uv run " if "UV_RUN_RECURSION_DEPTH" in os.environ else ""


def _is_clone() -> bool:
    return Path(sys.prefix).parent == _CHECKOUT


def _has_pip() -> bool:
    """Whether pip installs here. uv makes environments without one, and says so in their `pyvenv.cfg`."""
    return importlib.util.find_spec("pip") is not None or not _made_by_uv()


def _made_by_uv() -> bool:
    try:
        lines = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # no virtual environment, say
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in lines)
