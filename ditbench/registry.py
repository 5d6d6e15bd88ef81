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
import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import pluggy

from . import hookspecs
from .asking import Asked, Died, Stalled, as_data, described, in_turn, side_by_side
from .components import (
    Architecture,
    Dataset,
    Executor,
    Extractor,
    Metric,
    Objective,
    Sampler,
    Selection,
    Value,
    load,
    module_of,
)
from .discovery import GROUP, PluginSource, installed_sources
from .errors import BadValue, DitbenchError, PluginFault, UnknownName
from .extras import way_to
from .names import references

_HOOKS: Mapping[str, type] = {  # hook -> what it must return
    "ditbench_architectures": Architecture,
    "ditbench_datasets": Dataset,
    "ditbench_objectives": Objective,
    "ditbench_samplers": Sampler,
    "ditbench_metrics": Metric,
    "ditbench_extractors": Extractor,
    "ditbench_tracks": Path,
    "ditbench_executors": Executor,
}
_Item = TypeVar("_Item")
_Found = list[tuple[str, str, Any]]  # hook, name, component: what a plugin registers
_Place = tuple[str, ...]  # what tells a plugin from any other

SECONDS = 60.0  # in which a plugin's module must be imported and have answered
LATE = 600.0  # in which all that it imports later must be: libraries, too

Trouble = Literal[
    "", "unreadable", "too new", "broken at import", "died at import", "stuck at import", "misregistered", "name taken"
]
WAY_OUT: Mapping[Trouble, str] = {
    "unreadable": "remove {place}, and pip install --force-reinstall {distribution} if it is wanted",
    "too new": "pip install --upgrade ditbench, or install a version of {distribution} that was made for this one",
    "broken at import": "python -c 'import {module}' shows the traceback; mend it, or pip uninstall {distribution}",
    "died at import": "python -X faulthandler -c 'import {module}' may show where; mend it, or remove {distribution}",
    "stuck at import": "python -X importtime -c 'import {module}' may show where; mend it, or remove {distribution}",
    "misregistered": "mend the hook in {module}: @ditbench.hookimpl, returning records of its kind, each name once",
    "name taken": "uninstall one of the two, or name the one to load in DITBENCH_PLUGINS",
}
_Answer = tuple[Trouble, str, _Found]  # what a plugin registers; or the trouble with it, and the fault in a line


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
        self._items: dict[str, dict[str, tuple[Any, Plugin]]] = {hook: {} for hook in _HOOKS}
        self.plugins: list[Plugin] = []
        with _asked(sources) as answers:
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
        starts = (partial(Asked, _late_faults, self._own(one), seconds=LATE, of=one.label) for one in self.plugins)
        return [_told(plugin, lines) for plugin, lines in zip(self.plugins, in_turn(starts, _lines_of), strict=True)]

    def _own(self, plugin: Plugin) -> list[tuple[str, object]]:
        """A plugin's components, as messages name them; of our own none, which all load."""
        return [
            (f"{_kind(hook)} {name}", item)
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

    def _add(self, source: PluginSource, answer: _Answer) -> Plugin:
        """One plugin; all of its components come in, or none."""
        about = (source.name, source.distribution, source.version, source.module)
        trouble, fault, found = answer
        if not trouble and (taken := self._taken(found)):
            trouble, fault = "name taken", taken
        if trouble:
            return Plugin(*about, (), source.place, source.unmet, fault, trouble)
        plugin = Plugin(*about, tuple(f"{_kind(hook)} {name}" for hook, name, _ in found), source.place, source.unmet)
        for hook, name, item in found:
            self._items[hook][name] = (item, plugin)
        return plugin

    def _taken(self, found: _Found) -> str:
        for hook, name, _ in found:
            if name in self._items[hook]:
                owner = self._items[hook][name][1]
                return f"the {_kind(hook)} {name!r} already belongs to {owner.label}"
        return ""


_heard: dict[_Place, _Answer] = {}  # what plugins have answered


def heard() -> dict[_Place, _Answer]:
    """What plugins have answered in this process; for one that it starts, to `remember`."""
    return dict(_heard)


def remember(answers: Mapping[_Place, _Answer]) -> None:
    """Ask these plugins no more: a process asks each once, as Python imports a module once, and so do its children."""
    _heard.update(answers)


@contextmanager
def _asked(sources: Iterable[PluginSource]) -> Iterator[Iterator[tuple[PluginSource, _Answer]]]:
    """Each plugin with its answer, in their order. All that must be asked are asked side by side."""
    known = list(sources)
    asked = [source for source in known if _must_be_asked(source)]
    with side_by_side(Asked(_load, source, seconds=SECONDS, of=source.label) for source in asked) as questions:
        waiting = dict(zip(map(_place, asked), questions, strict=True))
        yield ((source, _answer_of(source, waiting)) for source in known)


def _must_be_asked(source: PluginSource) -> bool:
    return source.apart and not source.unreadable and not source.too_new and _place(source) not in _heard


def _place(source: PluginSource) -> _Place:
    return source.name, source.distribution, source.version, source.module, source.place


def _answer_of(source: PluginSource, asked: Mapping[_Place, Asked]) -> _Answer:
    if source.unreadable:
        return "unreadable", source.unreadable, []
    if source.too_new:
        return "too new", f"it needs {source.too_new}", []
    if not source.apart:
        return _load(source)
    place = _place(source)
    if place not in _heard:
        _heard[place] = _said_by(asked[place])
    return _heard[place]


def _said_by(question: Asked) -> _Answer:
    try:
        trouble, fault, found = question.answer()
        if trouble in WAY_OUT:
            return trouble, str(fault), []
        return "", "", [(hook, *_checked(hook, item)) for hook, _, item in found]
    except Died as error:
        return "died at import", str(error), []
    except Stalled as error:
        return "stuck at import", str(error), []
    except Exception as error:  # records that are not what they should be, or no answer of ours at all
        return "misregistered", described(error), []


def _load(source: PluginSource) -> _Answer:
    """A plugin's answer in the process that imports it."""
    trouble: Trouble = "broken at import"
    try:
        module = source.load()
        trouble = "misregistered"
        found = _collect(module, source)
        return "", "", [_portable(*of) for of in found] if source.apart else found
    except BaseException as error:
        if not (source.apart or isinstance(error, Exception | SystemExit)):  # Ctrl-C is ours
            raise
        return trouble, described(error), []


def _collect(module: object, source: PluginSource) -> _Found:
    """Everything that a plugin registers, type-checked."""
    if not any(hasattr(member, "ditbench_impl") for _, member in inspect.getmembers(module)):
        raise PluginFault("it implements no ditbench hook (is @ditbench.hookimpl missing?)")
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module, source.name)
    found: _Found = []
    for caller in manager.get_hookcallers(module) or []:
        if not caller.has_spec():
            raise PluginFault(f"ditbench has no hook {caller.name!r}; hooks: {', '.join(_HOOKS)}")
        for impl in caller.get_hookimpls():
            items = cast(Iterable[object], impl.function())
            found += [(caller.name, *_checked(caller.name, item)) for item in items]
    _refuse_twice(found)
    return found


def _portable(hook: str, name: str, item: object) -> tuple[str, str, Any]:
    try:
        return hook, name, as_data(item)
    except (PluginFault, BadValue) as fault:
        raise PluginFault(f"the {_kind(hook)} {name!r}: {fault}") from None


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


def _refuse_twice(found: Sequence[tuple[str, str, Any]]) -> None:
    for (hook, name), count in Counter((hook, name) for hook, name, _ in found).items():
        if count > 1:
            raise PluginFault(f"it registers the {_kind(hook)} {name!r} twice")


def _lines_of(asked: Asked) -> list[str] | PluginFault:
    try:
        return cast(list[str], asked.answer())
    except PluginFault as fault:
        return fault


def _told(plugin: Plugin, lines: list[str] | PluginFault) -> list[str]:
    if isinstance(lines, PluginFault):
        return [f"{plugin.label}, while all that its components name is imported: {lines}"]
    return lines


def _late_faults(components: Iterable[tuple[str, object]]) -> list[str]:
    faults: dict[str, None] = {}
    for called, component in components:
        for reference in references(component).values():
            try:
                load(reference)
            except DitbenchError as fault:
                faults[f"{called}: {fault}"] = None
    return list(faults)


def _kind(hook: str) -> str:
    return hook.removeprefix("ditbench_").removesuffix("s")


def _checked(hook: str, item: object) -> tuple[str, Any]:
    expected = _HOOKS[hook]
    if not isinstance(item, expected):
        raise PluginFault(f"{hook} returned {item!r}, which is no {expected.__name__}")
    if isinstance(item, Path):
        return item.stem, item
    return item.name, item  # type: ignore[attr-defined]


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
