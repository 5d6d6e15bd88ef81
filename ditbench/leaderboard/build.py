"""The leaderboard's files from records: what they hold, whether a folder has them, and writing them there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import BadFile, UnknownName
from ..records.record import Record
from ..storage.files import check_folder, check_target, exists, make_writable, write_text
from ..storage.reading import read_bytes, read_text
from .boards import Board, boards
from .export import csv, curves, json_text
from .latex import latex
from .markdown import MARK, markdown, summary
from .reported import Setting, beside
from .speedrun import histories, is_speedrun

PAGE_FILE, CSV_FILE, JSON_FILE, LATEX_FILE = "README.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex"
CURVES_FILE = "curves.csv"
FILES = (PAGE_FILE, CSV_FILE, JSON_FILE, LATEX_FILE, CURVES_FILE)
STARTS, ENDS = "<!-- boards, by ditbench leaderboard build -->", "<!-- end of the boards -->"  # of `into_page`
RUNS_PAGE = "leaderboard.md"  # beside the runs of a track, where a README would be somebody else's


def outputs(boards: Sequence[Board], reported: Sequence[Setting] = ()) -> dict[str, str]:
    """File name -> content, a function of its arguments alone; curves only if there are any."""
    published = beside(reported, boards)
    ranking = [board for board in boards if not is_speedrun(board)]
    files = {
        PAGE_FILE: markdown(ranking, published, histories(boards)),
        CSV_FILE: csv(boards),
        JSON_FILE: json_text(boards, published),
        LATEX_FILE: latex(ranking, published),
    }
    return {**files, CURVES_FILE: way} if (way := curves(boards)) else files


def build(boards: Sequence[Board], out: Path, reported: Sequence[Setting] = ()) -> None:
    """Write the files. Curves of an earlier build that are no more are removed.

    `BadFile` if `out` has a README.md that this did not write.
    """
    files = outputs(boards, reported)
    again = _is_ours(out)
    make_writable(out)
    for name in files:
        check_target(out / name)
    for name, content in files.items():
        write_text(out / name, content)
    for name in set(FILES) - set(files) if again else ():
        (out / name).unlink(missing_ok=True)


def _is_ours(out: Path) -> bool:
    """Whether the folder was written before by `build`; `BadFile` if its page is somebody else's."""
    page = out / PAGE_FILE
    if not exists(page):
        return False
    if MARK.encode() not in read_bytes(page, "page"):
        raise BadFile(f"{str(page)!r} was not generated from records and would be overwritten: choose another `out`.")
    return True


def stale(boards: Sequence[Board], out: Path, reported: Sequence[Setting] = ()) -> list[str]:
    """What `build` would change in `out`, a line per file: stale, missing or superfluous. Nothing is written."""
    check_folder(out)
    files = outputs(boards, reported)
    found = {name: fault for name in FILES if (fault := _fault(out / name, files.get(name)))}
    return [f"{out / name} is {fault}" for name, fault in found.items()]


def _fault(path: Path, content: str | None) -> str:
    if not exists(path):
        return "missing" if content is not None else ""
    if content is None:
        return "superfluous"
    text = content.encode()
    as_git_may_check_it_out = (text, text.replace(b"\n", b"\r\n"))
    return "" if read_bytes(path, "file") in as_git_may_check_it_out else "stale"


def into_page(page: Path, boards: Sequence[Board], samples: Path | None = None) -> str:
    """The text of a page with the ranked boards between its marks, and the grids of their samples if it is said where.

    `BadFile` if the page can't be read or has not both marks, each on a line of its own.
    """
    text = read_text(page, "page")
    before, start, rest = text.partition(f"{STARTS}\n")
    _, end, after = rest.partition(f"{ENDS}\n")
    if not start or not end:
        raise BadFile(f"The page {str(page)!r} has no place for the boards: lines {STARTS!r} and {ENDS!r}.")
    grids = Path(os.path.relpath(samples, page.parent)) if samples else None
    ranking = [board for board in boards if not is_speedrun(board)]
    return f"{before}{start}\n{summary(ranking, grids)}\n\n{end}{after}"


def of_track(
    records: Iterable[Record], reported: Sequence[Setting], track: str | None
) -> tuple[list[Record], list[Setting]]:
    """The records and published numbers of one track, or all of them; `UnknownName` if there are none."""
    records, reported = list(records), list(reported)
    if track is None:
        return records, reported
    known = {record.track.name for record in records} | {setting.track for setting in reported}
    if track not in known:
        raise UnknownName("track with records", track, known)
    return [r for r in records if r.track.name == track], [s for s in reported if s.track == track]


def on_the_boards_of(records: Iterable[Record], others: Iterable[Record]) -> list[Record]:
    """Those of the others that share a board with one of the records."""
    run_ids = {record.run_id for record in records}
    found = [board.records for board in boards(others)]
    return [record for group in found if run_ids & {r.run_id for r in group} for record in group]


def write_run_tables(records: Sequence[Record], folder: Path) -> None:
    """The page and the data of one track's runs, beside them; curves only if there are any."""
    files = outputs(boards(records))
    for name, file in ((PAGE_FILE, RUNS_PAGE), (CSV_FILE, CSV_FILE), (CURVES_FILE, CURVES_FILE)):
        if name in files:
            write_text(folder / file, files[name])
