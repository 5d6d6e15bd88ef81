"""`ditbench leaderboard`: tables and pages from records, and what a change of records does to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .app import EXIT_FAILED, TABLES, app
from .options import COMMITTED, AsJson, parse_address
from .output import Commands, tell, tell_json, warn

if TYPE_CHECKING:
    from ..leaderboard.boards import Board
    from ..leaderboard.reported import Setting
    from ..leaderboard.site.pages import Links
    from ..records.record import Record
    from ..records.verification import Verification

leaderboard_app = Commands(no_args_is_help=True, help="Tables and pages from records.")
app.add_typer(leaderboard_app, name="leaderboard", rich_help_panel=TABLES)

RecordsArgument = Annotated[Path, typer.Argument(help="Folder with records, searched through and through.")]
_Track = Annotated[str | None, typer.Option(help="One track alone.")]
_Reported = Annotated[Path | None, typer.Option(help="Published numbers.", show_default="reported.toml beside RECORDS")]


@leaderboard_app.command(
    gives="ditbench.cli.answers.records:BuiltLeaderboard",
    epilog="Example: ditbench leaderboard build runs --out tables",
)
def build(
    out: Annotated[Path, typer.Option(help="Folder for README.md, leaderboard.{csv,json,tex} and site/.")],
    records: RecordsArgument = COMMITTED,
    track: _Track = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file in DIR is not current. Not of site/.")
    ] = False,
    reported: _Reported = None,
    page: Annotated[
        Path | None, typer.Option(help="Also put the ranked boards into this page, between its marks.")
    ] = None,
    repository: Annotated[str, typer.Option(help="Address of the repository, for the site to link to.")] = "",
    address: Annotated[str, typer.Option(help="Address of the site itself, for its picture on other sites.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make the leaderboard from records alone: as Markdown, CSV, JSON, LaTeX and a site."""
    from ..leaderboard.build import PAGE_FILE, into_page, of_track, stale
    from ..leaderboard.build import build as write
    from ..leaderboard.site.pages import Links
    from ..scaling.study import studies_beside
    from ..storage.files import write_text
    from ..storage.reading import read_text

    links = Links(parse_address(repository), parse_address(address))
    (found, verified), published = found_records(records, strict=check), published_numbers(records, reported)
    found, published = of_track(found, published, track)
    shown = shown_boards(records, found, verified)
    text = into_page(page, shown, _samples(records)) if page else ""
    if check:
        studies_beside(records)  # which makes them again, and refuses one that is wrong
        faults = stale(shown, out, published)
        if page and read_text(page, "page") != text:
            faults.append(f"{page} is stale")
        if as_json:
            _tell_built(shown, out, None, faults)
        elif not faults:
            tell(f"The leaderboard in {out} is current.")
        else:
            tell("\n".join([*faults, "The same command without --check puts that right."]))
        raise typer.Exit(EXIT_FAILED if faults else 0)
    write(shown, out, published)
    if page:
        write_text(page, text)
    site = _write_site(shown, records, out / "site", published, verified, links)
    tell(f"{sum(len(board.records) for board in shown)} records -> {out / PAGE_FILE} and its data files, {site}")
    if as_json:
        _tell_built(shown, out, site, [])


def _tell_built(boards: list[Board], out: Path, site: Path | None, stale: list[str]) -> None:
    from .answers.boards import board_answers
    from .answers.records import BuiltLeaderboard

    tell_json(
        BuiltLeaderboard(
            records=sum(len(board.records) for board in boards),
            boards=board_answers(boards),
            out=str(out.absolute()),
            site=None if site is None else str(site.absolute()),
            stale=stale,
        )
    )


@leaderboard_app.command(epilog="Example: ditbench leaderboard serve")
def serve(
    records: RecordsArgument = COMMITTED,
    track: _Track = None,
    reported: _Reported = None,
    port: Annotated[int, typer.Option(min=0, max=65535, show_default="any that is free")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
) -> None:
    """Build the site into a temporary folder and show it, to this machine alone, until Ctrl-C."""
    from ..leaderboard.build import of_track
    from ..leaderboard.site.pages import Links
    from ..leaderboard.site.serve import serve as show
    from ..storage.files import temporary_folder

    (found, verified), published = found_records(records), published_numbers(records, reported)
    found, published = of_track(found, published, track)
    with temporary_folder() as folder:
        shown = shown_boards(records, found, verified)
        page = _write_site(shown, records, folder, published, verified, Links())
        show(page.parent, port=port, browse=browser, tell=tell)


@leaderboard_app.command(
    gives="ditbench.cli.answers.records:ReportedChange",
    epilog="Example: ditbench leaderboard report runs --format markdown",
)
def report(
    records: RecordsArgument = COMMITTED,
    base: Annotated[
        str | None, typer.Option(help="Commit to compare with, such as main.", show_default="none: all rows are told")
    ] = None,
    samples_url: Annotated[str, typer.Option(help="Where the folder samples/ is on the web: shows the grids.")] = "",
    site_url: Annotated[str, typer.Option(help="Where the site is on the web: runs lead to their pages.")] = "",
    format: Annotated[Literal["markdown"], typer.Option(help="How it is written.")] = "markdown",
    as_json: AsJson = False,
) -> None:
    """Tell what a change of records does: new rows, ranks, costs, and what else differs between the runs."""
    from ..leaderboard.changes import Web
    from ..leaderboard.changes import report as told
    from ..leaderboard.commits import folder_at

    after, verified = found_records(records)
    web = Web(parse_address(samples_url), parse_address(site_url))
    if base is None:
        text = told(None, after, checked_after=verified, web=web)
    else:
        with folder_at(base, records) as then:
            before, verified_before = _read(then)
        text = told(before, after, base, verified_before, verified, web)
    if as_json:
        _tell_change(base, text, after, shown_boards(records, after, verified))
    else:
        tell(text, nl=False)


def _tell_change(base: str | None, text: str, records: list[Record], boards: list[Board]) -> None:
    from .answers.boards import board_answers
    from .answers.records import ReportedChange

    tell_json(ReportedChange(base=base, markdown=text, records=len(records), boards=board_answers(boards)))


def found_records(folder: Path, strict: bool = False) -> tuple[list[Record], list[Verification]]:
    """The same as `_read`; where a record has another name, or there is none, it is said how one is called."""
    from ..records.files import CALLED, misnamed, record_files

    records, verifications = _read(folder, strict)
    for path in misnamed(folder):
        warn(f"Mind: {str(path)!r} is left out. A record is called {CALLED}.")
    if not record_files(folder):
        warn(f"Mind: there is no record in {str(folder)!r}. A record is called {CALLED}.")
    return records, verifications


def _read(folder: Path, strict: bool = False) -> tuple[list[Record], list[Verification]]:
    """The records below a folder, and what others found of them; strict: one that can't be read is an error."""
    from ..records.record import read_records
    from ..records.verification import read_verifications

    return read_records(folder, None if strict else warn), read_verifications(folder)


def shown_boards(folder: Path, records: list[Record], verified: list[Verification]) -> list[Board]:
    """The boards of these records, with what lies beside the folder: remarks, and speeds that were measured alone."""
    from ..leaderboard.boards import boards
    from ..leaderboard.remarks import REMARKS_FILE, read_remarks, with_remarks
    from ..leaderboard.speeds import with_profiles
    from ..records.profile import committed_profiles
    from ..storage.files import exists

    found = with_profiles(boards(records, verified), committed_profiles(folder))
    path = folder.parent / REMARKS_FILE
    return with_remarks(found, read_remarks(path)) if exists(path) else found


def published_numbers(records: Path, given: Path | None) -> list[Setting]:
    """Published numbers from the file that was given, or from the one beside the records, if there is one."""
    from ..leaderboard.reported import FILE_NAME, read_reported
    from ..storage.files import exists

    path = given or records.parent / FILE_NAME
    return read_reported(path) if given or exists(path) else []


def _write_site(
    boards: list[Board],
    records: Path,
    folder: Path,
    published: list[Setting],
    verified: list[Verification],
    links: Links,
) -> Path:
    """The site of these boards with the grids beside the records; its first page."""
    from collections import defaultdict

    from ..leaderboard.build import PAGE_FILE, outputs
    from ..leaderboard.reported import beside
    from ..leaderboard.site.pages import write_site
    from ..records.guidance import read_curves
    from ..records.lengths import read_all_lengths
    from ..records.profile import committed_profiles
    from ..scaling.pages import shown
    from ..scaling.study import studies_beside

    of_runs: dict[str, list[Verification]] = defaultdict(list)
    for verification in verified:
        of_runs[verification.run_id].append(verification)
    write_site(
        boards,
        folder,
        samples=_samples(records),
        reported=beside(published, boards),
        verifications=of_runs,
        profiles=committed_profiles(records),
        studies=[shown(name, study) for name, study in studies_beside(records).items()],
        lengths=read_all_lengths(records),
        guidance=read_curves(records),
        data={name: text for name, text in outputs(boards, published).items() if name != PAGE_FILE},
        links=links,
    )
    return folder / "index.html"


def _samples(records: Path) -> Path | None:
    """The folder with grids of samples beside the records, if there is one."""
    from ..storage.files import is_folder

    folder = records.parent / "samples"
    return folder if is_folder(folder) else None
