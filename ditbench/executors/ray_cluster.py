"""Ray: a local one started for the occasion, or a cluster that is joined. An extra, imported when it is asked for.

A cluster's nodes need the libraries; ditbench and the plugins come along in Ray's runtime environment, as they are
installed here.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pkgutil
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..components import module_of
from ..discovery import metadata_text, owners, plugin_distributions
from ..errors import BadValue, DitbenchError, one_line
from ..names import references
from ..registry import Registry
from ..runtime.affinity import processors
from ..runtime.inheritance import clean, environment
from ..storage.files import temporary_folder, writing
from .remote import library_of

OBJECTS = 100 * 2**20  # bytes of Ray's store on this machine; what goes through it is small
ANSWER = 5.0  # seconds in which an address must answer,
HEALTHY = 30.0  # and in which what answers must turn out to be Ray
QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
_UV = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"  # Ray's own name; its variable is read when it is imported, maybe before us
_ALONE = {  # what a Ray of this machine's own is started with
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no cluster: listen to this machine alone, as Ray does on macOS
}


@dataclass(frozen=True)
class Share:
    """What each run gets of a node."""

    cpus: int  # 0: not known yet
    gpus: int
    memory_bytes: int = 0  # 0: not asked for
    accelerator: str = ""

    @property
    def extra(self) -> dict[str, float]:
        """Resources beside Ray's own three."""
        return {f"accelerator_type:{self.accelerator}": 0.001} if self.accelerator else {}

    @property
    def bundle(self) -> dict[str, float]:
        """All of it, by the names of Ray's resources."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes, **self.extra}
        return {name: amount for name, amount in asked.items() if amount}

    @property
    def options(self) -> dict[str, Any]:
        """The same in the words of a task's options."""
        asked = {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": self.extra, "memory": self.memory_bytes}
        return {name: value for name, value in asked.items() if value or name.startswith("num")}

    def __str__(self) -> str:
        """E.g. ``8 CPUs, 1 GPUs (H100) and 64 GiB``."""
        gpus = f"{self.gpus} GPUs" + (f" ({self.accelerator})" if self.accelerator else "")
        memory = f" and {self.memory_bytes / 2**30:g} GiB" if self.memory_bytes else ""
        return f"{self.cpus} CPUs, {gpus}{memory}"


def library() -> Any:
    """ray; a `DitbenchError` if it is not installed."""
    return library_of("ray", "ray:init")


def start_here() -> None:
    """A Ray on this machine, that no other can reach."""
    with clean(), environment(_ALONE | {"RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN", secrets.token_hex(32))}):
        options = {"num_cpus": len(processors()), "object_store_memory": OBJECTS, "include_dashboard": False}
        _init(address="local", **options)


def join(address: str) -> None:
    """The cluster at an address, with our code for its nodes; a `DitbenchError` if it can't be joined."""
    _knock(address)
    ray = library()
    with temporary_folder() as folder:
        with writing(folder):
            stage(folder)
        try:
            _init(address=address, runtime_env={"working_dir": str(folder)})
        except (OSError, RuntimeError, ValueError, SystemExit, ray.exceptions.RayError) as error:
            why = one_line(error) or type(error).__name__
            raise DitbenchError(f"No Ray to be joined at {address!r}: {why}") from None


def _init(**options: Any) -> None:
    """Ray, without what it does if ``uv run`` is among our parents, which can only be switched off like this.

    It would send the working directory with all that lies there, and start each worker by ``uv run`` in that copy.
    """
    ray, constants = library(), pkgutil.resolve_name("ray._private.ray_constants")
    before = vars(constants).get(_UV, False)
    setattr(constants, _UV, False)
    try:
        ray.init(**options, **QUIET)
    finally:
        setattr(constants, _UV, before)


def _knock(address: str) -> None:
    """A `DitbenchError` if no Ray answers there: Ray itself would try for many minutes, and then end the process."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal() or "/" in address:
        raise BadValue(f"`address` {address!r} is neither HOST:PORT nor 'auto'.")
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise DitbenchError(f"Nobody answers at {address!r} ({error}). Is that where the cluster's head is?") from None
    client = [sys.executable, "-P", "-m", "ray.scripts.scripts"]
    check = [*client, "health-check", "--skip-version-check", "--address", address]
    try:
        subprocess.run(check, capture_output=True, timeout=HEALTHY, check=True)
    except subprocess.SubprocessError:
        raise DitbenchError(f"What answers at {address!r} is no Ray that is well, or it wants another token.") from None


def stage(folder: Path) -> None:
    """Lay ditbench and the plugins out as an installation has them: modules, and what names them as plugins."""
    ours = plugin_distributions()
    for name, distribution in ours.items():
        info = folder / f"{name.replace('-', '_')}-{distribution.version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata_text(distribution), encoding="utf-8")
        (info / "entry_points.txt").write_text(distribution.read_text("entry_points.txt") or "", encoding="utf-8")
    for module in _modules(ours.keys()):
        _copy(module, folder)


def _modules(distributions: AbstractSet[str]) -> list[str]:
    """What Python imports of these distributions, by its first name.

    One in development lists no files, so its plugins and what they refer to tell.
    """
    brought = owners()
    listed = {module for module, names in brought.items() if distributions & names}
    named = {"ditbench", *_named()}
    return sorted(listed | {module for module in named if distributions & {*brought.get(module, distributions)}})


def _named() -> set[str]:
    """Where plugins and their components come from."""
    registry = Registry.installed()
    kinds = (registry.architectures, registry.datasets, registry.objectives, registry.samplers, registry.metrics)
    items = [item for kind in (*kinds, registry.extractors, registry.executors) for item in kind.values()]
    modules = {module_of(reference) for item in items for reference in references(item).values()}
    return {module.partition(".")[0] for module in modules | {plugin.module for plugin in registry.plugins} if module}


def _copy(module: str, folder: Path) -> None:
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise DitbenchError(f"{module!r}, which a plugin names, can't be found, and so not be sent to Ray's nodes.")
    for place in spec.submodule_search_locations or ():
        shutil.copytree(place, folder / module, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    if not spec.submodule_search_locations and spec.origin:
        shutil.copy(spec.origin, folder)


def nodes() -> list[dict[str, float]]:
    """The resources of each node that is up."""
    return [node["Resources"] for node in library().nodes() if node["Alive"]]


def share_of(nodes: Sequence[Mapping[str, float]], share: Share, runs: int) -> Share:
    """The share with its CPUs known: by default an equal part of the smallest node that will do.

    `runs` is how many on CPUs alone a node should take at a time. `DitbenchError` if no node will do.
    """
    fitting = [node for node in nodes if all(node.get(name, 0) >= amount for name, amount in share.bundle.items())]
    if not fitting:
        raise DitbenchError(f"No node of Ray's that is up has what a run asks for: {share}.")
    if share.cpus:
        return share
    least = min(fitting, key=lambda node: node.get("CPU", 0))
    at_once = int(least["GPU"]) // share.gpus if share.gpus else runs
    return replace(share, cpus=max(1, int(least.get("CPU", 0)) // at_once))


def have_gpus(nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether any node has a GPU."""
    return any(node.get("GPU", 0) >= 1 for node in nodes)
