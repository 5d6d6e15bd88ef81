"""`ditbench fetch` and `import`: weights of extractors, and published checkpoints that become weights of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import BadValue
from .app import SCORE, app, fetch_weights, installed
from .options import AsJson, Channels, Classes, Frames, LearnVariance, Resolution, SpaceOption, spec_changes
from .output import tell, tell_json


@app.command(
    gives="ditbench.cli.answers.images:Fetched",
    rich_help_panel=SCORE,
    epilog="Example: ditbench fetch inception-v3-compat",
)
def fetch(
    extractors: Annotated[list[str], typer.Argument(help="Names; see `ditbench list extractors`.")],
    weights: Annotated[Path | None, typer.Option(help="A file that was fetched elsewhere, to be put in place.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only look whether they are here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the weights of feature extractors, and check them against their pinned hashes."""
    from ..metrics.weights import adopt_weights, check_weights
    from ..registry import pick
    from .answers.images import FetchedWeights
    from .console import make_console

    known, console = installed().extractors, make_console()
    chosen = [pick("extractor", name, known) for name in extractors]
    if weights is not None and len(chosen) > 1:
        raise BadValue("--weights is one file, of one extractor.")
    found = []
    for extractor in chosen:
        if weights is not None:
            adopt_weights(extractor, weights)
        path = fetch_weights(console, extractor, offline)
        check_weights(extractor, path)
        tell(f"{extractor.name}: {path}, sha256 {extractor.weights.sha256[:12]}...")
        found.append(FetchedWeights(extractor=extractor.name, file=str(path), sha256=extractor.weights.sha256))
    if as_json:
        tell_json(found)


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.images:ImportedWeights",
    rich_help_panel=SCORE,
    name="import",
    epilog="Example: ditbench import dit:XL/2 CHECKPOINT.pt --out dit-xl-2.safetensors",
)
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
    frames: Frames = None,
    as_json: AsJson = False,
) -> None:
    """Turn a published checkpoint into weights of ours; every tensor must be there, in its shape."""
    from ..denoiser.pretrained import import_apart
    from ..registry import select
    from .answers.images import ImportedWeights

    selection = select(installed(), architecture)
    spec = selection.spec(spec_changes(resolution, channels, classes, space, learn_variance, frames))
    done = import_apart(selection, spec, checkpoint, out, weights)
    stated = f"{done.weights} weights" if done.weights != "unstated" else "weights (EMA or raw: the file does not say)"
    tell(f"{selection.label}: {done.parameters:,} numbers, {stated} -> {out}")
    if as_json:
        tell_json(
            ImportedWeights(
                architecture=selection.label, weights=done.weights, parameters=done.parameters, file=str(out.absolute())
            )
        )
