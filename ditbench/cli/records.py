"""`ditbench diff` and `leaderboard`: what records say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from .app import app

leaderboard_app = typer.Typer(no_args_is_help=True, help="Tables from records.")
app.add_typer(leaderboard_app, name="leaderboard")


@app.command()
def diff(
    one: Annotated[Path, typer.Argument(help="A record.")],
    other: Annotated[Path, typer.Argument(help="Another record.")],
) -> None:
    """Show what two runs, or evaluations, did not do alike, most suspicious first: why their numbers may differ."""
    from ..console import make_console, make_table, plain
    from ..difference import differences, read_either

    found = differences(read_either(one), read_either(other))
    if not found:
        typer.echo("The two records name the same protocol.")
        return
    table = make_table("field", plain(one), plain(other))
    for difference in found:
        table.add_row(*map(plain, (difference.field, _value(difference.one), _value(difference.other))))
    make_console().print(table)


@leaderboard_app.command()
def build(
    records: Annotated[Path, typer.Argument(help="Folder with records, searched through and through.")],
    out: Annotated[Path, typer.Option(help="Folder for README.md and leaderboard.csv.")],
) -> None:
    """Make the leaderboard's tables from records alone."""
    from ..leaderboard.tables import CSV_FILE, MARKDOWN_FILE, write_leaderboard
    from ..record import read_records
    from ..storage import make_writable

    found = read_records(records)
    make_writable(out)
    write_leaderboard(found, out, MARKDOWN_FILE, CSV_FILE)
    typer.echo(f"{len(found)} records -> {out / MARKDOWN_FILE}, {out / CSV_FILE}")


def _value(value: object) -> str:
    text = "-" if value is None else str(value)
    return f"{text[:12]}..." if re.fullmatch("[0-9a-f]{40,64}", text) else text
