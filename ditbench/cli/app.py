"""The application that the commands hang on, and what several of them share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from ..components import Extractor
    from ..registry import Registry

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmark diffusion transformers that plug in.",
    epilog="Exit codes: 0 fine, 1 a run or a check failed, 2 wrong input, 130 stopped by Ctrl-C.",
)

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]

# What differs from the input that a size was made for; shared by `sizes`, `import` and `profile`.
Resolution = Annotated[int | None, typer.Option(min=1, help="Pixels or latent cells per side.")]
Channels = Annotated[int | None, typer.Option(min=1, help="Channels of the image or latent.")]
Classes = Annotated[int | None, typer.Option(min=0, help="Classes, the null label not counted; 0: unconditional.")]
SpaceOption = Annotated[Literal["pixel", "latent"] | None, typer.Option(help="Where the denoiser works.")]
LearnVariance = Annotated[bool | None, typer.Option(help="Whether the output has the variance's channels, too.")]


def installed() -> Registry:
    """What is installed; what is faulty is told."""
    from ..registry import Registry

    registry = Registry.installed()
    for plugin in registry.faults:
        typer.echo(f"ditbench: left out {plugin.label}: {plugin.fault}", err=True)
    return registry


def show(rows: Iterable[Mapping[str, object]], as_json: bool, *headers: str) -> None:
    """A listing: a table under `headers`, the keys of every row, or all of it as JSON with the types it has."""
    if as_json:
        typer.echo(json.dumps(list(rows), indent=1))
        return
    from ..console import make_console, make_table, plain

    console, table = make_console(), make_table(*headers)
    for row in rows:
        table.add_row(*(plain(_cell(row[header])) for header in headers))
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}={_cell(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def installed_architectures(incomplete: str) -> list[str]:
    """For the shell: the last of several architectures, completed."""
    from ..registry import Registry

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in Registry.installed().architectures if name.startswith(last)]


def installed_tracks(incomplete: str) -> list[str]:
    """For the shell: the tracks whose names begin so."""
    from ..registry import Registry

    return [name for name in Registry.installed().tracks if name.startswith(incomplete)]


def fetch_weights(console: Console, extractor: Extractor, offline: bool) -> Path:
    """Where an extractor's weights are, once they are here; a bar shows while they come."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from ..weights import require_weights

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(extractor.weights.file, total=None, visible=False)

        def report(done: int, size: int) -> None:
            bars.update(task, completed=done, total=size or None, visible=True)

        return require_weights(extractor, offline, report)


def spec_changes(
    resolution: int | None, channels: int | None, classes: int | None, space: str | None, learn_variance: bool | None
) -> dict[str, int | str]:
    """What is said of a spec, without what is not."""
    given = {
        "resolution": resolution,
        "channels": channels,
        "classes": classes,
        "space": space,
        "learn_variance": learn_variance,
    }
    return {name: value for name, value in given.items() if value is not None}
