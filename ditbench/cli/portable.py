"""`ditbench leaderboard export` and `archive`: a leaderboard for other programs, and all of it as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import BadValue
from .leaderboard import found_records, leaderboard_app, published_numbers, shown_boards
from .options import AsJson
from .output import count, tell, tell_json

if TYPE_CHECKING:
    from ..leaderboard.boards import Board

_Citation = Annotated[
    Path | None,
    typer.Option(help="Says authors and licence.", show_default="CITATION.cff of the leaderboard, or of the clone"),
]


@leaderboard_app.command(
    gives="ditbench.cli.answers.records:ExportedTables",
    epilog="Example: ditbench leaderboard export leaderboard/records tables --to parquet",
)
def export(
    records: Annotated[Path, typer.Argument(help="Folder with records, searched through and through.")],
    out: Annotated[Path, typer.Argument(help="Folder for the tables.")],
    to: Annotated[
        Literal["csv", "parquet", "croissant"], typer.Option(help="What for: croissant is CSV that describes itself.")
    ] = "csv",
    citation: _Citation = None,
    as_json: AsJson = False,
) -> None:
    """Write two tables for pandas and the like: a line for each record, and one for each row of a board."""
    from ..leaderboard.citation import citation_beside, read_citation
    from ..leaderboard.portable import write_tables
    from .answers.records import ExportedTables

    if citation is not None and to != "croissant":
        raise BadValue(f"--citation {str(citation)!r} is of croissant, not of {to}.")
    about = read_citation(citation or citation_beside(records.absolute().parent)) if to == "croissant" else None
    shown = shown_boards(records, *found_records(records))
    files = write_tables(shown, out, to, about)
    runs, rows = (sum(map(len, of)) for of in ([board.records for board in shown], [board.rows for board in shown]))
    tell(f"{count(runs, 'record')} and {count(rows, 'row')} of boards -> {', '.join(map(str, files))}")
    if as_json:
        tell_json(ExportedTables(files=list(map(str, files)), records=runs, rows=rows))


@leaderboard_app.command(
    gives="ditbench.cli.answers.records:ArchiveFacts",
    epilog="Example: ditbench leaderboard archive leaderboard board.zip",
)
def archive(
    leaderboard: Annotated[Path, typer.Argument(help="A leaderboard's folder, which has records/.")],
    out: Annotated[Path, typer.Argument(help="The archive, a .zip.")],
    board: Annotated[str, typer.Option(help="One board alone, by its slug.", show_default="all")] = "",
    citation: _Citation = None,
    as_json: AsJson = False,
) -> None:
    """Pack records, samples, profiles and tables into one file, for Zenodo; its tables can be made again from it."""
    from ..leaderboard.archive import write_archive
    from ..leaderboard.build import outputs
    from ..leaderboard.citation import citation_beside, read_citation
    from ..records.files import RECORDS
    from ..storage.files import check_target
    from .answers.records import ArchiveFacts

    check_target(out)
    records = leaderboard / RECORDS
    path = citation or citation_beside(leaderboard)
    about, published = read_citation(path), published_numbers(records, None)
    found, verified = found_records(records, strict=True)
    shown = shown_boards(records, found, verified)
    if board:
        shown = shown_boards(records, _picked(board, shown).records, verified)
    done = write_archive(leaderboard, out, shown, outputs(shown, published), path, about)
    runs = sum(len(one.records) for one in shown)
    sizes = f"{done.packed / 1e6:,.1f} MB, {done.unpacked / 1e6:,.1f} MB unpacked"
    tell(f"{count(runs, 'record')} of {count(len(shown), 'board')}, {count(done.files, 'file')} -> {out} ({sizes})")
    if as_json:
        slugs = [one.slug for one in shown]
        sizes_of = {"files": done.files, "bytes": done.packed, "bytes_unpacked": done.unpacked}
        tell_json(ArchiveFacts(archive=str(out), records=runs, boards=slugs, **sizes_of))


def _picked(slug: str, boards: list[Board]) -> Board:
    from ..errors import UnknownName

    for board in boards:
        if board.slug == slug:
            return board
    raise UnknownName("board", slug, [board.slug for board in boards])
