"""Boards as LaTeX tables for a paper: what they say in Markdown, in the columns that a page has room for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .boards import Board, Row
from .notes import outside, unranked
from .remarks import starred
from .reported import Reported, reported_tables
from .tables import Column, columns, quality_header

_HEAD = """\
% Generated from the records by `ditbench leaderboard build`. Do not edit.
% needs \\usepackage{booktabs}
"""
_ROWS = 30  # of what papers print: as many as a page holds, where cells take two lines
_REPORTED = r"llp{28mm}rrp{28mm}p{38mm}"
_PRINTED = ("head", "quality", "size", "speed")
_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"{\char34}",
    "[": "{[}", "]": "{]}",  # after a line's end a bracket would begin an argument
    "±": r"\textpm{}", "≤": r"$\le$", "≥": r"$\ge$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "—": "---", "–": "--",
    **{special: f"\\{special}" for special in "{}#$%&_"},
}  # fmt: skip


def latex(boards: Sequence[Board], reported: Sequence[Reported] = ()) -> str:
    """A booktabs table per board, and one per track of what papers print."""
    parts = [_HEAD, *map(_board, boards)]
    for track, frame in reported_tables(reported).items():
        caption = (
            f"Reported for {track}: what papers print, beside what was measured with ditbench in the same setting."
        )
        rows = [[escape(cell) or "--" for cell in row] for row in frame.itertuples(index=False)]
        heads = [escape(name) for name in frame.columns]
        for part, first in enumerate(range(0, len(rows), _ROWS), start=1):
            label = f"reported-{_slug(track)}-{part}"
            parts.append(_table(escape(caption), label, _REPORTED, heads, rows[first : first + _ROWS]))
    return "\n".join(parts)


def _board(board: Board) -> str:
    found = [column for column in columns(board) if column.kind in _PRINTED and not _too_wide(column, board)]
    rows = [[_cell(column, row, board) for column in found] for row in board.rows]
    align = "".join("l" if column.header in ("architecture", "hardware") else "r" for column in found)
    return _table(_caption(board), board.slug, align, [_header(column) for column in found], rows)


def _too_wide(column: Column, board: Board) -> bool:
    """Speeds that do not compare are a column for each kind."""
    return column.kind == "speed" and len(board.hardware) > 1


def _cell(column: Column, row: Row, board: Board) -> str:
    text = escape(column.text(row)) or "--"
    ranks = bool(row.measurements) and column.header == quality_header(row.measurements[0])
    return rf"\textbf{{{text}}}" if ranks and row.rank == 1 and not _all_tied(board) else text


def _all_tied(board: Board) -> bool:
    """Whether all that have a rank share it: then there is nothing to point out."""
    return len({row.rank for row in board.rows} - {None}) < 2


def _header(column: Column) -> str:
    """A metric's full name on two lines."""
    if column.kind != "quality":
        return escape(column.header)
    lines = r"\\".join(map(escape, column.header.split("/")))
    return rf"\shortstack{{{lines}}}"


def _caption(board: Board) -> str:
    counts = sorted({len(row.values) for row in board.rows if row.values}) or [0]
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    several = " ± half the width of the 95 % t-interval; costs with their range" if counts[-1] > 1 else ""
    said = [
        f"{board.title} (track hash {board.protocol.track_hash}).",
        f"Means over {seeds} seed{'' if counts == [1] else 's'} per row{several}.",
    ]
    if any(row.rank is not None for row in board.rows):
        said.append("Rows of one rank are not told apart by paired t-tests, 5 % for the board, or had failed runs.")
    said += filter(None, [unranked(board)])
    if board.ranked and any(row.provisional for row in board.rows):
        said.append("Rows without a rank are provisional: they have other seeds than their track asks for.")
    if any(row.missed for row in board.rows):
        said.append("Where fewer seeds finished than were run, the others failed or diverged.")
    said += [*filter(None, [outside(board)]), *starred(board)]
    if len(board.hardware) > 1:
        said.append("Speed and memory do not compare across classes of hardware and are left out.")
    elif any(row.profile for row in board.rows):
        said.append("Images per second were measured alone.")
    return escape(" ".join(said))


def _table(caption: str, label: str, align: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"    {' & '.join(cells)} \\\\" for cells in (heads, *rows)]
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"  \centering",
            rf"  \caption{{{caption}}}",
            rf"  \label{{tab:{label}}}",
            r"  \footnotesize\setlength{\tabcolsep}{3pt}",
            rf"  \begin{{tabular}}{{{align}}}",
            r"    \toprule",
            lines[0],
            r"    \midrule",
            *lines[1:],
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def escape(cell: object) -> str:
    """Text that prints as it is, with nothing in it that LaTeX obeys. What few fonts have becomes its code point."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(cell)).split())
    return "".join(
        _ESCAPES.get(c) or (c if c.isascii() or re.match("[À-ÖØ-öø-ÿ]", c) else f"U+{ord(c):04X}") for c in line
    )


def _slug(text: str) -> str:
    return re.sub("[^A-Za-z0-9]+", "-", text)
