"""`ditbench export`: a run or its weights for those who have no ditbench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .app import SCORE, app, installed
from .options import AsJson
from .output import tell, tell_json


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.images:Exported",
    rich_help_panel=SCORE,
    epilog="Example: ditbench export runs/digits/RUN --to diffusers my-model",
)
def export(
    source: Annotated[Path, typer.Argument(help="A run's folder, or weights of ours (.safetensors).")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    to: Annotated[
        Literal["diffusers", "hub", "safetensors"],
        typer.Option(help="A folder for diffusers; the same with a model card; or weights under published names."),
    ],
    architecture: Annotated[str, typer.Option(help="Of a file of weights: name[:size][+option=value]...")] = "",
    track: Annotated[str, typer.Option(help="Of a file of weights: how it is sampled.")] = "",
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Of a file of weights: of its images.", show_default="0"),
    ] = None,
    autoencoder: Annotated[str, typer.Option(help="Of latents: the folder of their autoencoder.")] = "",
    like: Annotated[
        Path | None, typer.Option(help="Of safetensors: a published file, whose names and shapes are taken.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that an export has written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run for those who have no ditbench; nothing is sent anywhere."""
    from ..executors.exporting import Request, export_apart
    from .answers.images import Exported

    request = Request(
        source=source,
        out=out,
        to=to,
        architecture=architecture,
        track=track,
        seed=seed,
        autoencoder=autoencoder,
        like=like,
        force=force,
    )
    of = export_apart(request, installed())
    tell(f"{of} -> {out}")
    if as_json:
        tell_json(Exported(of=of, to=to, folder=str(out)))
