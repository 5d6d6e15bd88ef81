"""`ditbench list` and `sizes`: what is installed, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DitbenchError
from ..extras import install
from .app import LOOK, app, installed, show
from .options import (
    AsJson,
    Channels,
    Classes,
    Frames,
    LearnVariance,
    Resolution,
    SomeArchitectures,
    SpaceOption,
    as_flags,
    parse_architectures,
    spec_changes,
)
from .output import tell, warn

if TYPE_CHECKING:
    from ..denoiser.sizes import Rung, Size, Unfit
    from ..registry import Registry

Entry = dict[str, Any]  # header -> value


class Listing(StrEnum):
    """What `ditbench list` can show."""

    architectures = "architectures"
    tracks = "tracks"
    datasets = "datasets"
    autoencoders = "autoencoders"
    objectives = "objectives"
    samplers = "samplers"
    metrics = "metrics"
    extractors = "extractors"
    executors = "executors"


@app.command(
    gives="ditbench.cli.answers.installed:Listed",
    rich_help_panel=LOOK,
    name="list",
    epilog="Example: ditbench list tracks",
)
def list_(
    kind: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.architectures, as_json: AsJson = False
) -> None:
    """Show what is installed."""
    registry = installed()
    if kind is Listing.architectures:
        show(_architectures(registry), as_json, "architecture", "sizes", "options", "from", "paper")
        for name, how in _other_names(registry) if not as_json else ():
            tell(f"{name}: {how}")
        if not registry.architectures:
            warn(f"No architecture is installed. The reference architectures: {install('ditbench[reference]')}")
    elif kind is Listing.tracks:
        show(_tracks(registry), as_json, "track", "version", "hash", "budget", "size", "description")
    elif kind is Listing.extractors:
        show(_extractors(registry), as_json, "extractor", "weights", "sha256", "here", "resize", "description")
    elif kind is Listing.autoencoders:
        show(_autoencoders(registry), as_json, "autoencoder", "place", "licence", "description")
    else:
        components = getattr(registry, kind.value)
        rows = ({"name": name, "description": item.description} for name, item in components.items())
        show(rows, as_json, "name", "description")


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.installed:Sizes",
    rich_help_panel=LOOK,
    epilog="Example: ditbench sizes dit:XL/2 uvit:L/2 --resolution 64",
)
def sizes(
    architectures: SomeArchitectures = None,
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
    frames: Frames = None,
    ladder: Annotated[bool, typer.Option("--ladder", help="Show the ladders: sizes for studies of scale.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what architectures cost: parameters and multiply-accumulates, counted here and now.

    All of them if none is named. Each size is counted on the input that it was made for, unless told otherwise.
    """
    from ..denoiser.sizes import HEADERS, LADDER_HEADERS, count_ladders, count_sizes
    from .console import make_console, make_table, plain

    registry, console = installed(), make_console()
    changes = spec_changes(resolution, channels, classes, space, learn_variance, frames)
    count = count_ladders if ladder else count_sizes
    everything = [name for name, one in registry.architectures.items() if one.ladder or not ladder]
    counted: list[Size | Unfit | Rung] = []
    for text in parse_architectures(architectures) or everything:
        with console.status(f"Counting {plain(text)}"):
            counted += count(registry, text, changes)
    if as_json:
        show((size.facts for size in counted), as_json)
        return
    table = make_table(*(LADDER_HEADERS if ladder else HEADERS))
    for size in counted:
        table.add_row(*map(plain, size.cells))
    console.print(table)


def _architectures(registry: Registry) -> Iterator[Entry]:
    from ..components import spell

    for name, architecture in registry.architectures.items():
        plugin = registry.provider(name)
        yield {
            "architecture": name,
            "sizes": list(architecture.sizes),
            "options": {
                key: "|".join(spell(choice) for choice in option.choices) or _example(option.default)
                for key, option in architecture.options.items()
            },
            "from": f"{plugin.distribution} {plugin.version}",
            "paper": architecture.paper,
            "licence": architecture.licence,
            "description": architecture.description,
            "also": dict(architecture.also),
        }


def _other_names(registry: Registry) -> Iterator[tuple[str, str]]:
    """Names of papers for networks that stand here under another, and how each is had."""
    for architecture in registry.architectures.values():
        yield from architecture.also.items()


def _example(default: object) -> str:
    if isinstance(default, bool):
        return "on|off" if default else "off|on"
    return f"{default}"


def _tracks(registry: Registry) -> Iterator[Entry]:
    from ..tracks.lookup import resolve_track

    nothing = dict.fromkeys(("version", "hash", "budget", "size"))
    for name in registry.tracks:
        try:
            track = resolve_track(registry, name)
        except DitbenchError as error:
            yield {"track": name, **nothing, "description": f"faulty: {as_flags(str(error))}"}
            continue
        amount = str(track.amount(None))
        budget = track.budget if track.budget not in track.budgets else f"{track.budget}: {amount}"
        about = {"version": track.version, "hash": track.hash, "budget": budget, "size": track.size}
        yield {"track": name, **about, "description": track.description}


def _autoencoders(registry: Registry) -> Iterator[Entry]:
    for name, one in registry.autoencoders.items():
        place = f"{name}:PLACE" if one.place == "required" else "none"
        yield {"autoencoder": name, "place": place, "licence": one.licence, "description": one.description}


def _extractors(registry: Registry) -> Iterator[Entry]:
    from ..metrics.weights import has_weights

    for name, extractor in registry.extractors.items():
        pin = extractor.weights
        yield {
            "extractor": name,
            "weights": pin.file,
            "sha256": pin.sha256[:12],
            "here": "yes" if has_weights(extractor) else f"ditbench fetch {name}" if pin.url else "no",
            "resize": extractor.resize,
            "description": extractor.description,
        }
