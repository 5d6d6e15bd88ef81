"""`ditbench profile`: time and memory of architectures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import BadValue
from .app import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
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
    from ..profile import Profile


@app.command()
def profile(
    architectures: Annotated[list[str], typer.Argument(help="name:size[+option=value]...")],
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    steps: Annotated[int, typer.Option(min=4, help="Timed steps of each kind.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before them, besides the first.")] = 5,
    precision: Annotated[Literal["float32", "bfloat16"], typer.Option(help="bfloat16: autocast.")] = "float32",
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile, as one graph.")] = False,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where.")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for records and table.")] = Path("profiles"),
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
) -> None:
    """Time architectures in training and inference: throughput, peak memory, MACs, MFU. Needs no data.

    One clean process each, in random order. Exit code 1: some could not be timed.
    """
    from ..console import make_console, make_table, plain
    from ..plan import select
    from ..profile import Setup, run_profiles, table, write_profile, write_table
    from ..storage import make_writable

    registry, console = installed(), make_console()
    chosen = [select(registry, text) for text in architectures]
    labels = [selection.label for selection in chosen]
    if len(set(labels)) < len(labels):
        raise BadValue(f"One architecture stands twice: {', '.join(labels)}.")
    changes = spec_changes(resolution, channels, classes, space, learn_variance)
    setups = [
        Setup(
            spec=selection.spec(changes),
            batch_size=batch_size,
            steps=steps,
            warmup=warmup,
            precision=precision,
            compile=compile_,
            device=device,
        )
        for selection in chosen
    ]
    make_writable(out)
    profiles: list[Profile] = []
    try:
        for found in run_profiles(chosen, setups):
            path = write_profile(found, out)
            profiles.append(found)
            typer.echo(f"[{len(profiles)}/{len(chosen)}] {found.label}: {found.reason or path}")
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was timed before is kept.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        if profiles:
            write_table(out, setups[0])
    frame = table(profiles)
    shown = make_table(*(str(column) for column in frame.columns))
    for row in frame.itertuples(index=False):
        shown.add_row(*map(plain, row))
    console.print(shown)
    if any(found.reason for found in profiles):
        raise typer.Exit(EXIT_FAILED)
