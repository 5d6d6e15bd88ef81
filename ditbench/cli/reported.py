"""`ditbench records import`: results of other harnesses, into the file of published numbers. They get no rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import completion
from .app import installed
from .options import COMMITTED, AsJson
from .output import count, tell, tell_json, warn
from .records import records_app

_REPORTED = COMMITTED.with_name("reported.toml")
_EXAMPLE = (
    "ditbench records import evaluator.txt --from adm --architecture dit:XL/2 --track imagenet256 --samples 50000 "
    "--paper Mine --url https://example.org"
)


@records_app.command("import", gives="ditbench.cli.answers.records:ImportedResults", epilog=f"Example: {_EXAMPLE}")
def import_results(
    file: Annotated[Path, typer.Argument(help="What the harness wrote: text of ADM's evaluator, CSV or JSON.")],
    harness: Annotated[Literal["adm", "diffusionbench"], typer.Option("--from", help="The harness that wrote it.")],
    track: Annotated[str, typer.Option(help="Track that they stand beside.", autocompletion=completion.tracks)],
    samples: Annotated[int, typer.Option(min=20, max=10_000_000, help="Images that were scored: no file says it.")],
    paper: Annotated[str, typer.Option(help="What they are of: a paper, a project, a run.")],
    arxiv: Annotated[str, typer.Option(help="Its number, as 2212.09748.")] = "",
    url: Annotated[str, typer.Option(help="Where else they are from, on the web.")] = "",
    table: Annotated[str, typer.Option(help="Of the paper.")] = "",
    architecture: Annotated[
        str, typer.Option(help="Of a file that names no model.", autocompletion=completion.architectures)
    ] = "",
    budget: Annotated[str, typer.Option(help="Of training, if known.", autocompletion=completion.budgets)] = "",
    differs: Annotated[
        str, typer.Option(help="What is not as on the track.", show_default="that DiffusionBench trained it")
    ] = "",
    note: Annotated[str, typer.Option(help="What else a reader should know.")] = "",
    features: Annotated[
        str, typer.Option(help="Extractor.", autocompletion=completion.extractors)
    ] = "inception-v3-compat",
    to: Annotated[Path, typer.Option(help="File of published numbers.")] = _REPORTED,
    as_json: AsJson = False,
) -> None:
    """Enter results of another harness as published numbers: apart, with their source, and without a rank."""
    from ..leaderboard.harnesses import read_results, settings_of
    from ..leaderboard.reported import add_reported
    from ..registry import pick
    from .answers.records import ImportedResults

    registry = installed()
    pick("track", track, registry.tracks)
    pick("extractor", features, registry.extractors)
    results = read_results(file, harness)
    trained_there = "trained and scored with DiffusionBench"
    about = {
        "paper": paper,
        "arxiv": arxiv,
        "url": url,
        "table": table,
        "track": track,
        "budget": budget,
        "differs": differs or (trained_there if harness == "diffusionbench" else ""),
        "note": note,
    }
    settings = settings_of(results, harness, samples=samples, features=features, architecture=architecture, about=about)
    add_reported(to, settings)
    numbers = [label for setting in settings for values in setting.values.values() for label in values]
    unknown = sorted({name for name in numbers if not _is_known(name)})
    for name in unknown:
        warn(f"Mind: no row here can be called {name!r}; it stands as it was given.")
    if results.left_out:
        warn(f"Mind: left out, as no metric here: {', '.join(results.left_out)}.")
    tell(f"{count(len(numbers), 'number')} -> {to}. They stand under Reported, without a rank, in the next build.")
    if as_json:
        left_out = list(results.left_out)
        tell_json(ImportedResults(file=str(to), numbers=len(numbers), unknown=unknown, left_out=left_out))


def _is_known(label: str) -> bool:
    from ..errors import DitbenchError
    from ..registry import select

    try:
        return select(installed(), label).label == label
    except DitbenchError:
        return False
