"""`ditbench import`: published checkpoints become weights of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .app import Channels, Classes, LearnVariance, Resolution, SpaceOption, app, installed, spec_changes


@app.command(name="import")
def import_(
    architecture: Annotated[str, typer.Argument(help="What the checkpoint is of: name:size[+option=value]...")],
    checkpoint: Annotated[Path, typer.Argument(help="A published file: safetensors, or what torch.save wrote.")],
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    weights: Annotated[
        Literal["ema", "raw"] | None, typer.Option(help="Which weights of a training checkpoint; ema if not said.")
    ] = None,
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
) -> None:
    """Turn a published checkpoint into weights of ours; every tensor must be there, in its shape."""
    from ..plan import select
    from ..published import import_checkpoint

    selection = select(installed(), architecture)
    spec = selection.spec(spec_changes(resolution, channels, classes, space, learn_variance))
    done = import_checkpoint(selection, spec, checkpoint, out, weights)
    stated = f"{done.weights} weights" if done.weights != "unstated" else "weights (EMA or raw: the file does not say)"
    typer.echo(f"{selection.label}: {done.parameters:,} numbers, {stated} -> {out}")
