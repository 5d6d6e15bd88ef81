"""The application that the commands hang on, and what several of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from .output import Commands, left_out, tell, tell_json, warn

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from ..components import Extractor
    from ..registry import Registry

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
EXIT_CODES = {
    "0": "fine",
    str(EXIT_FAILED): "a run or a check failed",
    str(EXIT_BAD_INPUT): "wrong input",
    str(EXIT_INTERRUPTED): "stopped by Ctrl-C",
    "128 + N": "by signal N",
}

app = Commands(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmark diffusion transformers that plug in.",
    epilog=f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
)

# Panels of commands in --help; they stand there in the order in which `ditbench.cli` imports the first of each.
COMPARE, LOOK, ADD = "Compare architectures", "See what is installed", "Add your architecture"
SCORE, TABLES = "Images, weights and data", "Records and tables"


def _tell_version(asked: bool) -> None:
    from ..discovery import version

    if asked:
        tell(f"ditbench {version('ditbench')}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What may be asked of the application itself."""


def installed() -> Registry:
    """What is installed; what is faulty is told."""
    from ..registry import Registry

    registry = Registry.installed()
    for plugin in registry.faults:
        warn(f"ditbench: {left_out(plugin)}")
    return registry


def show(rows: Iterable[Mapping[str, object]], as_json: bool, *headers: str) -> None:
    """A listing: a table under `headers`, the keys of every row, or all of it as JSON with the types it has."""
    if as_json:
        tell_json(list(rows))
        return
    from .console import make_console, make_table

    console, table = make_console(), make_table(*headers)
    for row in rows:
        table.add_row(*(_cell(row[header]) for header in headers))
    console.print(table)


def _cell(value: object) -> str:
    from .console import plain

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "\n".join(f"{plain(key)}={_cell(item)}" for key, item in value.items())
    return plain(", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value)


def fetch_weights(console: Console, extractor: Extractor, offline: bool) -> Path:
    """Where an extractor's weights are, once they are here; a bar shows while they come."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from ..metrics.weights import require_weights

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(extractor.weights.file, total=None, visible=False)

        def report(done: int, size: int) -> None:
            bars.update(task, completed=done, total=size or None, visible=True)

        return require_weights(extractor, offline, report)
