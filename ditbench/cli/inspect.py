"""`ditbench list`, `plugins` and `sizes`: what is installed, and what it costs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DitbenchError
from .app import (
    EXIT_BAD_INPUT,
    Channels,
    Classes,
    LearnVariance,
    Resolution,
    SpaceOption,
    app,
    installed,
    spec_changes,
)

if TYPE_CHECKING:
    from rich.table import Table

    from ..registry import Registry


class Kind(StrEnum):
    """What `ditbench list` can show."""

    architectures = "architectures"
    tracks = "tracks"
    datasets = "datasets"
    objectives = "objectives"
    samplers = "samplers"
    metrics = "metrics"
    extractors = "extractors"
    executors = "executors"


@app.command(name="list")
def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.architectures) -> None:
    """Show what is installed."""
    from ..console import make_console, make_table, plain

    registry, console = installed(), make_console()
    if kind is Kind.architectures:
        console.print(_architectures(registry))
    elif kind is Kind.tracks:
        console.print(_tracks(registry))
    elif kind is Kind.extractors:
        console.print(_extractors(registry))
    else:
        table = make_table("name", "description")
        for name, component in getattr(registry, kind.value).items():
            table.add_row(plain(name), plain(component.description))
        console.print(table)


@app.command()
def plugins(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 if any plugin is faulty.")] = False,
) -> None:
    """List installed plugins, what they provide, and what is wrong with the faulty ones."""
    from ..console import make_console, make_table, plain
    from ..registry import Registry

    registry = Registry.installed()
    table = make_table("plugin", "distribution", "version", "state", "provides")
    for plugin in registry.plugins:
        state = f"faulty: {plugin.fault}" if plugin.fault else "ok"
        cells = (plugin.name, plugin.distribution, plugin.version, state, ", ".join(plugin.provides))
        table.add_row(*map(plain, cells))
    make_console().print(table)
    if strict and registry.faults:
        raise typer.Exit(EXIT_BAD_INPUT)


@app.command()
def sizes(
    plugins: Annotated[
        str, typer.Argument(help="name[:size][+option=value], separated by commas; all sizes if none is named.")
    ] = "",
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
) -> None:
    """Show what architectures cost: parameters and multiply-accumulates, counted here and now.

    Each size is counted on the input that it was made for, unless told otherwise.
    """
    from ..console import make_console, make_table, plain
    from ..sizes import HEADERS, count_sizes

    registry, console = installed(), make_console()
    changes = spec_changes(resolution, channels, classes, space, learn_variance)
    table = make_table(*HEADERS)
    for text in plugins.split(",") if plugins else registry.architectures:
        with console.status(f"Counting {plain(text)}"):
            for size in count_sizes(registry, text, changes):
                table.add_row(*map(plain, size.cells))
    console.print(table)


def _architectures(registry: Registry) -> Table:
    from ..components import spell
    from ..console import make_table, plain

    table = make_table("architecture", "sizes", "options", "from", "paper")
    for name, architecture in registry.architectures.items():
        options = "\n".join(
            f"{key}={'|'.join(spell(choice) for choice in option.choices) or _example(option.default)}"
            for key, option in architecture.options.items()
        )
        plugin = registry.provider(name)
        source = f"{plugin.distribution} {plugin.version}"
        table.add_row(*map(plain, (name, ", ".join(architecture.sizes), options, source, architecture.paper)))
    return table


def _example(default: object) -> str:
    return "on|off" if isinstance(default, bool) else f"{default}"


def _tracks(registry: Registry) -> Table:
    from ..console import make_table, plain
    from ..plan import resolve_track

    table = make_table("track", "version", "hash", "budget", "size", "description")
    for name in registry.tracks:
        try:
            track = resolve_track(registry, name)
        except DitbenchError as error:
            table.add_row(plain(name), "", "", "", "", plain(f"faulty: {error}"))
            continue
        amount = track.amount(None)
        budget = track.budget if track.budget not in track.budgets else f"{track.budget}: {amount}"
        cells = (name, track.version, track.hash, budget, track.size, track.description)
        table.add_row(*map(plain, cells))
    return table


def _extractors(registry: Registry) -> Table:
    from ..console import make_table, plain
    from ..weights import has_weights

    table = make_table("extractor", "weights", "sha256", "here", "resize", "description")
    for name, extractor in registry.extractors.items():
        pin = extractor.weights
        here = "yes" if has_weights(extractor) else f"ditbench fetch {name}" if pin.url else "no"
        table.add_row(*map(plain, (name, pin.file, pin.sha256[:12], here, extractor.resize, extractor.description)))
    return table
