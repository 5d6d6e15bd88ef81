"""What of an architecture is built, and whose code builds it: the facts that plans, records and profiles share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..components import Selection, Value
from ..registry import Registry
from ..storage.schema import Frozen, Name, Sha256, Words, later

MOST_LIBRARIES = 300  # that one network may be imported from


class Library(Frozen):
    """A distribution that a plugin's network is imported from, and that ditbench does not require."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+!_-]{0,64}$")]  # empty: a package that nobody has installed
    files_sha256: Sha256  # of its code


class ArchitectureFacts(Frozen):
    """What was built, and whose code built it."""

    name: Name
    size: Words
    options: dict[str, Value]
    label: str  # as the command line spells it
    settings: dict[str, Value | None]  # everything the network was built with
    distribution: Words
    distribution_version: Words
    source_sha256: Sha256  # of the plugin's Python files
    paper: str
    libraries: tuple[Library, ...] = later((), max_length=MOST_LIBRARIES)
    trained_with: tuple[Name, ...] = later((), max_length=20)  # networks whose features its loss uses

    @property
    def of_run(self) -> dict[str, Any]:
        """The fields of `RunConfig` that say the same; `RunConfig.built` is the way back."""
        return {"architecture": self.name, **{name: value for name, value in self if name not in ("name", "label")}}


def facts_of(selection: Selection, registry: Registry) -> ArchitectureFacts:
    """The facts of what a user chose, as it is installed here."""
    name = selection.architecture.name
    plugin = registry.provider(name)
    return ArchitectureFacts(
        name=name,
        size=selection.size,
        options=dict(selection.options),
        label=selection.label,
        settings=selection.settings,
        distribution=plugin.distribution,
        distribution_version=plugin.version,
        source_sha256=registry.source_sha256(name),
        paper=selection.architecture.paper,
        trained_with=tuple(selection.architecture.trained_with),
    )
