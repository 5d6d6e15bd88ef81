"""The application that the commands hang on, and what several of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from ..components import Extractor
    from ..registry import Registry

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmark diffusion transformers that plug in.",
)

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

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
