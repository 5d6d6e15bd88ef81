"""Answers of `list`, `sizes`, `plugins`, `plugins doctor`, `env`, `track show`, `track check` and `commands`."""

from __future__ import annotations

from typing import Any

import pydantic
from pydantic import ConfigDict, Field, JsonValue

from ...denoiser_spec import DenoiserSpec
from ...records.facts import Cost, Environment
from ...storage.schema import Words
from ...tracks.track import Track
from . import Answer


class ArchitectureRow(Answer):
    """An architecture that is installed."""

    architecture: str
    sizes: list[str]
    options: dict[str, str]
    """Name -> choices, or the default."""
    provider: str = Field(alias="from")
    """Distribution and version."""
    paper: str
    licence: str
    description: str
    also: dict[str, str]
    """A paper's name for it -> how it is had."""


class TrackRow(Answer):
    """A track that is installed; of a faulty one, its name and what is wrong."""

    track: str
    version: int | None
    hash: str | None
    budget: str | None
    size: str | None
    description: str


class ExtractorRow(Answer):
    """A feature extractor, and whether its weights are here."""

    extractor: str
    weights: str
    """The file."""
    sha256: str
    """Its first 12 digits."""
    here: str
    """yes, no, or the command that fetches them."""
    resize: str
    description: str


class AutoencoderRow(Answer):
    """An autoencoder that is installed."""

    autoencoder: str
    place: str
    """As `data prepare --autoencoder` takes it; none: it has no weights."""
    licence: str
    description: str


class ComponentRow(Answer):
    """Anything else that is installed."""

    name: str
    description: str


Listed = list[ArchitectureRow] | list[TrackRow] | list[ExtractorRow] | list[AutoencoderRow] | list[ComponentRow]


class SizeRow(Cost):
    """What a size costs."""

    size: str
    spec: DenoiserSpec = Field(alias="for")
    """Its input."""
    changes: dict[str, JsonValue] | None = None
    """Of a rung: from the ladder's middle."""
    times: float | None = None
    """Of a rung: training's MACs, in those of the middle."""


class UnfitRow(Answer):
    """A size that can't be built on the input."""

    size: str
    reason: str


Sizes = list[SizeRow | UnfitRow]


class PluginRow(Answer):
    """An installed plugin."""

    plugin: str
    distribution: str
    version: str
    state: str
    """ok, or faulty and why."""
    trouble: str
    """The kind of fault; empty: none."""
    way_out: str = Field(alias="way out")
    unmet: list[str]
    """Requirements that are not here."""
    provides: list[str]


Plugins = list[PluginRow]


class DoctorRow(PluginRow):
    """A plugin that was looked at more closely."""

    place: str = Field(alias="from")
    unloadable: list[str]
    """Components that break when they are used."""


class Stray(Answer):
    """Metadata that can't be read."""

    distribution: str
    place: str
    why: str


class Doctor(Answer):
    """What is wrong with plugins."""

    plugins: list[DoctorRow]
    not_loaded: list[str] = Field(alias="not loaded")
    """As DITBENCH_PLUGINS names others."""
    damaged: list[Stray]


class EnvironmentFacts(Environment):
    """Machine and versions, without what is not there.

    ``plugin NAME`` has each plugin's, DITBENCH_PLUGINS what alone is loaded.
    """

    git_commit: str | None = None
    git_dirty: bool | None = None
    cuda: Words | None = None
    gpu: Words | None = None
    gpu_driver: Words | None = None
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str] = Field(init=False)


_OF_TRACK: Any = {name: (field.annotation, field) for name, field in Track.model_fields.items()}
TrackFacts = pydantic.create_model(
    "TrackFacts",
    __base__=Answer,
    __doc__="A track with every default written out, and its hash.",
    hash=(str, ...),
    **_OF_TRACK,
)


class CheckedTrack(Answer):
    """A track in which no fault was found."""

    track: str
    version: int
    hash: str
    published: bool
    """As the ledger has it; else it is in none."""
    made: bool
    """Whether its components were made, which takes torch."""


CheckedTracks = list[CheckedTrack]


class Parameter(Answer):
    """An argument, or an option."""

    name: str
    """As it is typed: an option's flag."""
    type: str
    """text, integer, number, path or flag."""
    required: bool
    repeated: bool
    """An argument of several words, an option that may be given several times."""
    default: JsonValue
    choices: list[str]
    """Empty: any."""
    least: float | None
    most: float | None
    help: str
    off: str | None = None
    """The flag that says no."""


class CommandFacts(Answer):
    """A command. Without `json_schema` it has no --json."""

    name: str
    """Its words behind `ditbench`."""
    summary: str
    description: str
    needs_torch: bool
    arguments: list[Parameter]
    options: list[Parameter]
    examples: list[str]
    takes_json: bool
    json_schema: dict[str, Any] | None
    """Of what --json gives."""


class CommandList(Answer):
    """All commands, or those that were named."""

    version: str
    """Of ditbench."""
    exit_codes: dict[str, str]
    error_schema: dict[str, Any]
    """Of what stands in an answer's place."""
    commands: list[CommandFacts]
