"""What each plugin registers, asked in a process of its own, which answers with its components as data: see `asking`.

A plugin that dies, raises, or registers a wrong type answers with its trouble.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import pluggy

from . import hookspecs
from .asking import Asked, Died, Stalled, as_data, described, side_by_side
from .components import Architecture, Autoencoder, Dataset, Executor, Extractor, Metric, Objective, Sampler, load
from .discovery import GROUP, PluginSource
from .errors import BadValue, DitbenchError, PluginFault
from .names import references

HOOKS: Mapping[str, type] = {  # hook -> what it must return
    "ditbench_architectures": Architecture,
    "ditbench_datasets": Dataset,
    "ditbench_autoencoders": Autoencoder,
    "ditbench_objectives": Objective,
    "ditbench_samplers": Sampler,
    "ditbench_metrics": Metric,
    "ditbench_extractors": Extractor,
    "ditbench_tracks": Path,
    "ditbench_executors": Executor,
}
Found = list[tuple[str, str, Any]]  # hook, name, component: what a plugin registers
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
Answer = tuple[Trouble, str, Found]  # what a plugin registers; or the trouble with it, and the fault in a line

_heard: dict[_Place, Answer] = {}  # what plugins have answered


def heard() -> dict[_Place, Answer]:
    """What plugins have answered in this process; for one that it starts, to `remember`."""
    return dict(_heard)


def remember(answers: Mapping[_Place, Answer]) -> None:
    """Ask these plugins no more: a process asks each once, as Python imports a module once, and so do its children."""
    _heard.update(answers)


@contextmanager
def all_answers(sources: Iterable[PluginSource]) -> Iterator[Iterator[tuple[PluginSource, Answer]]]:
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


def _answer_of(source: PluginSource, asked: Mapping[_Place, Asked]) -> Answer:
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


def _said_by(question: Asked) -> Answer:
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


def _load(source: PluginSource) -> Answer:
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


def _collect(module: object, source: PluginSource) -> Found:
    """Everything that a plugin registers, type-checked."""
    if not any(hasattr(member, "ditbench_impl") for _, member in inspect.getmembers(module)):
        raise PluginFault("it implements no ditbench hook (is @ditbench.hookimpl missing?)")
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module, source.name)
    found: Found = []
    for caller in manager.get_hookcallers(module) or []:
        if not caller.has_spec():
            raise PluginFault(f"ditbench has no hook {caller.name!r}; hooks: {', '.join(HOOKS)}")
        for impl in caller.get_hookimpls():
            items = cast(Iterable[object], impl.function())
            found += [(caller.name, *_checked(caller.name, item)) for item in items]
    _refuse_twice(found)
    return found


def _portable(hook: str, name: str, item: object) -> tuple[str, str, Any]:
    try:
        return hook, name, as_data(item)
    except (PluginFault, BadValue) as fault:
        raise PluginFault(f"the {kind_of(hook)} {name!r}: {fault}") from None


def _refuse_twice(found: Sequence[tuple[str, str, Any]]) -> None:
    for (hook, name), count in Counter((hook, name) for hook, name, _ in found).items():
        if count > 1:
            raise PluginFault(f"it registers the {kind_of(hook)} {name!r} twice")


def lines_of(asked: Asked) -> list[str] | PluginFault:
    try:
        return cast(list[str], asked.answer())
    except PluginFault as fault:
        return fault


def late_faults(components: Iterable[tuple[str, object]]) -> list[str]:
    faults: dict[str, None] = {}
    for called, component in components:
        for reference in references(component).values():
            try:
                load(reference)
            except DitbenchError as fault:
                faults[f"{called}: {fault}"] = None
    return list(faults)


def kind_of(hook: str) -> str:
    return hook.removeprefix("ditbench_").removesuffix("s")


def _checked(hook: str, item: object) -> tuple[str, Any]:
    expected = HOOKS[hook]
    if not isinstance(item, expected):
        raise PluginFault(f"{hook} returned {item!r}, which is no {expected.__name__}")
    if isinstance(item, Path):
        return item.stem, item
    return item.name, item  # type: ignore[attr-defined]
