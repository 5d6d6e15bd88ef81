"""Everything installed, by kind and name, and what went wrong while loading it.

Entry points of group ``ditbench`` are loaded one at a time, each in a process of its own, which answers with its
components as data: see `asking.py`. A plugin that dies, raises, registers a wrong type or claims a taken name becomes a
`Plugin` with a fault and contributes nothing; the others go on. (pluggy's own loader stops at the first error and hides
the second of two equal names.) The order is the same everywhere, built-ins first and then by distribution name, and who
comes first keeps a name.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from .answers import HOOKS, LATE, WAY_OUT, Answer, Found, Trouble, all_answers, kind_of, late_faults, lines_of
from .asking import Asked, in_turn
from .components import (
    Architecture,
    Autoencoder,
    Dataset,
    Executor,
    Extractor,
    Metric,
    Objective,
    Sampler,
    Selection,
    Value,
    module_of,
)
from .discovery import PluginSource, installed_sources
from .errors import BadValue, PluginFault, UnknownName
from .extras import way_to

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Plugin:
    """Where components come from, and the fault that kept them out if there was one."""

    name: str
    distribution: str
    version: str
    module: str = ""  # where it is loaded from
    provides: tuple[str, ...] = ()  # e.g. ("architecture dit",)
    place: str = ""  # the folder it is installed in, or, if editable, that of its sources
    unmet: tuple[str, ...] = ()  # requirements of its distribution that this environment does not meet
    fault: str = ""  # one line; empty: loaded
    trouble: Trouble = ""  # the kind of the fault

    @property
    def label(self) -> str:
        """The plugin as messages name it."""
        return f"plugin {self.name!r} of {self.distribution} {self.version}"

    @property
    def way_out(self) -> str:
        """What mends the fault; empty: there is none."""
        module = self.module or self.name
        known = {"distribution": self.distribution, "module": module, "place": self.place}
        return WAY_OUT[self.trouble].format(**known) if self.trouble else ""


class Registry:
    """The components of a set of plugins. Make one with `installed`, or from `PluginSource`s in a test."""

    def __init__(self, sources: Iterable[PluginSource], strict: bool = False) -> None:
        """`strict` turns the first faulty plugin into a `PluginFault`."""
        self._items: dict[str, dict[str, tuple[Any, Plugin]]] = {hook: {} for hook in HOOKS}
        self.plugins: list[Plugin] = []
        with all_answers(sources) as answers:
            for source, answer in answers:
                plugin = self._add(source, answer)
                self.plugins.append(plugin)
                if strict and plugin.fault:
                    raise PluginFault(f"{plugin.label}: {plugin.fault} (fatal because of `strict`)")

    @classmethod
    def installed(cls, strict: bool = False) -> Registry:
        """The built-ins and every installed plugin."""
        return cls(installed_sources(), strict=strict)

    @property
    def architectures(self) -> dict[str, Architecture]:
        return self._named("ditbench_architectures")

    @property
    def datasets(self) -> dict[str, Dataset]:
        return self._named("ditbench_datasets")

    @property
    def autoencoders(self) -> dict[str, Autoencoder]:
        return self._named("ditbench_autoencoders")

    @property
    def objectives(self) -> dict[str, Objective]:
        return self._named("ditbench_objectives")

    @property
    def samplers(self) -> dict[str, Sampler]:
        return self._named("ditbench_samplers")

    @property
    def metrics(self) -> dict[str, Metric]:
        return self._named("ditbench_metrics")

    @property
    def extractors(self) -> dict[str, Extractor]:
        return self._named("ditbench_extractors")

    @property
    def tracks(self) -> dict[str, Path]:
        return self._named("ditbench_tracks")

    @property
    def executors(self) -> dict[str, Executor]:
        return self._named("ditbench_executors")

    @property
    def faults(self) -> list[Plugin]:
        """The plugins that were left out."""
        return [plugin for plugin in self.plugins if plugin.fault]

    def unloadable(self) -> list[list[str]]:
        """For each plugin: what its components name and can't be imported, a line each.

        All of it is imported in a process of its own, torch with it, unless that is here before.
        """
        starts = (partial(Asked, late_faults, self._own(one), seconds=LATE, of=one.label) for one in self.plugins)
        return [_told(plugin, lines) for plugin, lines in zip(self.plugins, in_turn(starts, lines_of), strict=True)]

    def _own(self, plugin: Plugin) -> list[tuple[str, object]]:
        """A plugin's components, as messages name them; of our own none, which all load."""
        return [
            (f"{kind_of(hook)} {name}", item)
            for hook, items in self._items.items()
            for name, (item, owner) in items.items()
            if owner is plugin and plugin.module
        ]

    def provider(self, architecture: str) -> Plugin:
        """The plugin that registered an architecture."""
        return self._items["ditbench_architectures"][architecture][1]

    def packages(self, architecture: str) -> list[str]:
        """The top-level packages that make an architecture: its plugin's, and that of its `build`."""
        item, plugin = self._items["ditbench_architectures"][architecture]
        return sorted({module.partition(".")[0] for module in (plugin.module, module_of(item.build)) if module})

    def source_sha256(self, architecture: str) -> str:
        """Hash of the Python files that make an architecture; line ends are hashed as LF, as in any checkout."""
        content = hashlib.sha256()
        for name in self.packages(architecture):
            for path in _python_files(name):
                content.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
        return content.hexdigest()

    def _named(self, hook: str) -> dict[str, Any]:
        return {name: item for name, (item, _) in self._items[hook].items()}

    def _add(self, source: PluginSource, answer: Answer) -> Plugin:
        """One plugin; all of its components come in, or none."""
        about = (source.name, source.distribution, source.version, source.module)
        trouble, fault, found = answer
        if not trouble and (taken := self._taken(found)):
            trouble, fault = "name taken", taken
        if trouble:
            return Plugin(*about, (), source.place, source.unmet, fault, trouble)
        plugin = Plugin(*about, tuple(f"{kind_of(hook)} {name}" for hook, name, _ in found), source.place, source.unmet)
        for hook, name, item in found:
            self._items[hook][name] = (item, plugin)
        return plugin

    def _taken(self, found: Found) -> str:
        for hook, name, _ in found:
            if name in self._items[hook]:
                owner = self._items[hook][name][1]
                return f"the {kind_of(hook)} {name!r} already belongs to {owner.label}"
        return ""


def pick(kind: str, name: str, known: Mapping[str, _Item]) -> _Item:
    """``known[name]``, or an `UnknownName` that offers the near miss and lists what is known."""
    if name not in known:
        raise UnknownName(kind, name, known, way_to(name, known) if kind == "architecture" else "")
    return known[name]


def _python_files(package: str) -> list[Path]:
    """The files of a top-level package or module, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    if not folders and spec.origin:
        files = [Path(spec.origin)]
    return sorted(path for path in files if path.is_file())  # an editor's lock may be a link to nothing


def _told(plugin: Plugin, lines: list[str] | PluginFault) -> list[str]:
    if isinstance(lines, PluginFault):
        return [f"{plugin.label}, while all that its components name is imported: {lines}"]
    return lines


def select(registry: Registry, text: str, default_size: str = "") -> Selection:
    """Parse ``name[:size][+option=value]...``; without a default the size must be named."""
    head, *pairs = text.strip().split("+")
    name, colon, size = head.partition(":")
    architecture = pick("architecture", name, registry.architectures)
    size = size if colon else default_size
    if not size:
        raise BadValue(f"{text!r} names no size: write {name}:SIZE, with one of {', '.join(architecture.sizes)}.")
    settings = {key: option.default for key, option in architecture.options.items()}
    settings |= pick(f"size of {name}", size, architecture.family(size))
    options: dict[str, Value] = {}
    for pair in pairs:
        key, equals, spelled = pair.partition("=")
        option = pick(f"option of {name}", key, architecture.options)
        if not equals:
            raise BadValue(f"{text!r}: option {key!r} has no value; write +{key}=VALUE.")
        if key in options:
            raise BadValue(f"{text!r}: option {key!r} stands twice.")
        try:
            options[key] = option.parse(spelled)
        except BadValue as fault:
            raise BadValue(f"Option {key!r} of {name}: {fault}") from None
    differing = {key: value for key, value in options.items() if value != settings[key]}
    return Selection(architecture=architecture, size=size, options=differing)
