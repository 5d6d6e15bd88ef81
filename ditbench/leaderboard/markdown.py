"""The leaderboard as a page of Markdown, which GitHub and a terminal show alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..errors import in_markdown
from . import notes
from .boards import Board, headline
from .remarks import starred
from .reported import Reported, remarks, reported_tables
from .speedrun import History
from .speeds import speeds
from .tables import Column, columns, measurements, quality_header, table, target

MARK = "Generated from the records by `ditbench leaderboard build`. Do not edit."

LEGEND = """\
## How to read it

- A **row** is an architecture's runs over all its seeds. Each number is their mean, never the best. A metric has ± half
  the width of its 95 % t-interval; a cost has the least and the most of the seeds in brackets.
- **Ranks** go by the first metric. Rows that paired t-tests over the seeds do not tell apart share one, as do all rows
  between them; at most 5 % of boards divide equal models so. Runs that failed or diverged count: their row ranks after
  all whole ones.
- **Provisional** rows have other seeds than their track asks for, and no rank.
- **Noise**: all of it is the standard deviation over seeds, of training and sampling together; the samples' part is
  what the samples of one run leave open. Both are estimates, so that a part may come out larger than the whole.
- **Tiers**: `self-reported` is what the record's author measured; `re-evaluated`, the metrics were computed again from
  the published weights; `re-trained`, the run was repeated.
- **Time and FLOPs to a target** are those of the first measurement at the target or beyond. Nothing is interpolated, so
  they are upper bounds. FLOPs are those that a FLOPs budget counts: two per multiply-accumulate of training, that is
  twice the train MACs for each training image.
- **Parameters** leave out what only training uses. **MACs** are one forward pass for one image, attention included;
  train MACs are all that one training image costs, every forward and backward of the architecture's own loss.
- **Images per second** were measured alone, by `ditbench profile`, with the track's batch size and loss; sampling is
  all evaluations of an image, without decoding. Those of a run itself are on its page. **Peak memory** is that of
  training: the process's resident set on a CPU, libraries included, and the allocator's peak on CUDA. Two classes of
  hardware never share a column of time, speed or memory; nor do times that were measured beside other runs and those
  that were not.
- **Real images**: what as many of them score, drawn at random, against all others; half of them against the other half
  where there are too few. A row that is no worse is saturated: the metric tells no more of it.
- **denoise** is how far from held-out images is what a network makes of them after noise was added, at 16 levels;
  `-image` and `-nats` are the same by other weights. **memorised** is the share of samples as close to a training image
  as 1 % of held-out images are; **knn**, the share whose nearest real images have the class that was asked for.
"""


def markdown(boards: Sequence[Board], reported: Sequence[Reported] = (), speedruns: Sequence[History] = ()) -> str:
    """The leaderboard page: a table per board, and below them speedruns, and what papers print."""
    parts = ["# Leaderboard", MARK, *(part for board in boards for part in _board(board))]
    if not boards and not speedruns:
        parts.append("No records yet.")
    parts += [part for history in speedruns for part in _speedrun(history)]
    if reported:
        parts += ["## Reported", _REPORTED]
    for track, frame in reported_tables(reported).items():
        parts += [f"### {in_markdown(track)}", _table(frame), *map(in_markdown, remarks(reported, track))]
    return "\n\n".join([*parts, LEGEND])


def summary(boards: Sequence[Board], grids: Path | None = None) -> str:
    """The ranked boards in short, for a page that is not all about them: what ranks, costs, and samples of seed 0.

    Of each board it is the first rows. `grids` is the folder of the grids of samples as the page names it, if it is to
    show them.
    """
    parts = []
    for board in headline(boards):
        rows, more = board.rows[:_ROWS], len(board.rows) - _ROWS
        frame = pd.DataFrame({column.header: list(map(column.text, rows)) for column in _in_short(board)})
        parts += [f"**{in_markdown(board.title)}**", _table(frame)]
        parts += [f"{more} more {'row is' if more == 1 else 'rows are'} on the leaderboard's page."] if more > 0 else []
        told = (*filter(None, [notes.outside(board)]), *starred(replace(board, rows=rows)))
        parts += map(in_markdown, told)
        parts += [_samples(board, grids)] if grids else []
    return "\n\n".join(parts) or "No ranked rows yet."


_ROWS, _GRIDS = 7, 6  # of a board in short, and its grids of samples
_SHORT = ("rank", "architecture", "hardware", "params (M)", "MACs (M)")


def _in_short(board: Board) -> list[Column]:
    """The columns that a phone has room for: of the metrics the one that ranks, and FID, which everybody knows."""
    found, metrics = columns(board), measurements(board)
    first = [quality_header(of) for place, of in enumerate(metrics) if not place or of.metric in ("fid", "fvd")]
    return [column for column in found if column.subject in (*_SHORT, *first[:2])]


def _samples(board: Board, grids: Path) -> str:
    """The grids of the first rows side by side: same seed, same labels, same noise."""
    seeds = [(row.label, row.finished[0]) for row in board.rows if row.finished and row.finished[0].seed == 0]
    first = seeds[:_GRIDS]
    pictures = {
        in_markdown(label): [
            f"![samples of {in_markdown(label)}]({grids.as_posix()}/{record.track.name}/{record.run_id}.png)"
        ]
        for label, record in first
    }
    return pd.DataFrame(pictures).to_markdown(index=False, disable_numparse=True)


def _board(board: Board) -> list[str]:
    of = board.protocol
    commits = sorted({r.environment.git_commit or "?" for r in board.records if r.environment})
    code = ", ".join(f"`{commit[:10]}`" for commit in commits) or "an unknown commit"
    facts = (
        f"Track hash `{of.track_hash}`; data `{of.data[:12]}`, compared with `{of.reference[:12]}`; "
        f"{len(board.records)} runs; code at {code}; {_machines(board)}."
    )
    ranking = (notes.unranked(board), *notes.ties(board), notes.provisional(board), *notes.searched(board))
    checked = (notes.outside(board), *notes.checked(board), *_target(board), *starred(board))
    warned = (notes.saturated(board), notes.memorising(board), *notes.of_values(board))
    of_times = (notes.beside_others(board), speeds(board), notes.noise(board))
    told = (*ranking, *checked, *warned, *of_times, notes.floor(board))
    said = [in_markdown(note) for note in told if note]
    return [f"## {in_markdown(board.title)}", _table(table(board)), *said, facts]


def _speedrun(history: History) -> list[str]:
    """The records of a speedrun, the newest first; and how many entries are none, and why some do not count."""
    lines = [
        {
            "date": f"{entry.when:%Y-%m-%d}",
            "who": entry.who,
            "what changed": entry.first.changed,
            "train s": entry.time,
            "images": entry.images,
            "TFLOPs": entry.teraflops,
            **{one.of.protocol: one.told for one in entry.reached},
        }
        for entry in reversed(history.records)
    ]
    asked = f"Target: {' and '.join(history.targets)}, {history.asked.seeds} seeds."
    slower = len(history.entries) - len(history.records)
    notes = [f"{slower} more that count were not faster."] if slower else []
    notes += [f"Does not count: {entry.first.changed} ({entry.fault})." for entry in history.others]
    tables = [_table(pd.DataFrame(lines))] if lines else ["No entry counts yet."]
    return [
        f"## {in_markdown(f'Speedrun: {history.course.title}')}",
        in_markdown(asked),
        *tables,
        *map(in_markdown, notes),
    ]


def _target(board: Board) -> list[str]:
    if not target(board):
        return []
    of = measurements(board)[0]
    return [f"Target: {of.protocol} {'≥' if of.higher_is_better else '≤'} {board.target:g}."]


def _machines(board: Board) -> str:
    """The machines, as the records name them."""
    names = {
        f"{e.gpu or e.cpu}, {e.threads} {'thread' if e.threads == 1 else 'threads'}, torch {e.torch}"
        for e in (record.environment for record in board.records)
        if e is not None
    }
    return in_markdown("; ".join(sorted(names)) or "no machine recorded")


_REPORTED = """\
What papers print: not measured with ditbench, and part of no rank. Beside it stands what was measured here in the same
setting (track, budget, ruleset, architecture and metric), — where nobody has, and nothing where the setting differs."""


def _table(frame: pd.DataFrame) -> str:
    return frame.map(in_markdown).rename(columns=in_markdown).to_markdown(index=False, disable_numparse=True)
