"""What of an architecture is built, and whose code builds it: the facts that plans, records and profiles share."""

from __future__ import annotations

from typing import Any

from ..components import Selection, Value
from ..registry import Registry
from ..storage.schema import Frozen, Name, Sha256, Words


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

    @property
    def of_run(self) -> dict[str, Any]:
        """The fields of `RunConfig` that say the same; `RunConfig.built` is the way back."""
        return {"architecture": self.name, **self.model_dump(exclude={"name", "label"})}


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
    )
