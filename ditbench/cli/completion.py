"""What the shell completes: names of what is installed, and the parts of an architecture's selection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import DitbenchError
from .output import apart

if TYPE_CHECKING:
    from ..components import Architecture
    from ..registry import Registry


@contextmanager
def _registry() -> Iterator[Registry]:
    """What is installed; what plugins print does not reach the shell."""
    from ..registry import Registry

    with apart():
        yield Registry.installed()


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def architectures(incomplete: str) -> list[str]:
    """The last of several architectures: its name, or behind it its size, an option or an option's value."""
    before, comma, last = incomplete.rpartition(",")
    with _registry() as registry:
        return [before + comma + text for text in _beginning(_selections(registry.architectures, last), last)]


def _selections(known: dict[str, Architecture], text: str) -> Iterable[str]:
    """What may become of a selection that is begun."""
    named = known.get(text.partition("+")[0].partition(":")[0])
    head, plus, option = text.rpartition("+")
    if named is None or not {":", "+"} & set(text):
        return known
    if not plus:
        return [f"{named.name}:{size}" for size in named.family(text.partition(":")[2])]
    key, equals, _ = option.partition("=")
    if not equals:
        return [f"{head}+{name}=" for name in named.options]
    return [f"{head}+{key}={choice}" for choice in _choices(named, key)]


def _choices(architecture: Architecture, option: str) -> list[str]:
    from ..components import spell

    if option not in architecture.options:
        return []
    of = architecture.options[option]
    return [spell(choice) for choice in of.choices] or (["on", "off"] if isinstance(of.default, bool) else [])


def tracks(incomplete: str) -> list[str]:
    """Names of tracks."""
    with _registry() as registry:
        return _beginning(registry.tracks, incomplete)


def extractors(incomplete: str) -> list[str]:
    """Names of feature extractors."""
    with _registry() as registry:
        return _beginning(registry.extractors, incomplete)


def autoencoders(incomplete: str) -> list[str]:
    """Names of kinds of autoencoders."""
    with _registry() as registry:
        return _beginning(registry.autoencoders, incomplete)


def executors(incomplete: str) -> list[str]:
    """Names of executors."""
    with _registry() as registry:
        return _beginning(registry.executors, incomplete)


def budgets(context: typer.Context, incomplete: str) -> list[str]:
    """The names that the chosen track gives to budgets."""
    from ..tracks.lookup import resolve_track

    with _registry() as registry:
        try:
            track = resolve_track(registry, context.params.get("track") or "digits")
        except DitbenchError:
            return []
        return _beginning(track.budgets, incomplete)


def devices(incomplete: str) -> list[str]:
    """``auto``, ``cpu``, and the GPUs that this machine's driver shows."""
    gpus = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return _beginning(["auto", "cpu", "mps", "cuda", *(f"cuda:{number}" for number in gpus)], incomplete)
