"""Records to tables. Every number is a view of the records; nothing here imports torch."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from ..record import Measurement, Milestone, Record, TrainingFacts
from ..storage import write_text
from .boards import Board, Row, boards, hardware_of
from .intervals import Estimate

MARKDOWN_FILE, CSV_FILE, CURVES_FILE = "README.md", "leaderboard.csv", "curves.csv"


def table(board: Board) -> pd.DataFrame:
    """Text cells: a row per architecture, a column per full protocol name."""
    rows = [_row(row) for row in board.rows]
    return pd.DataFrame(rows).fillna("")


def floor(board: Board) -> str:
    """What real images score: a line of its own, since its protocols have other sample counts."""
    finished = [record for record in board.records if record.status == "finished"]
    if not finished or not finished[0].floors:
        return ""
    floors = finished[0].floors
    parts = [f"{of.protocol} {_number(of.value)}" + (f" ± {_number(of.spread)}" if of.spread else "") for of in floors]
    aside = floors[0].settings.get("held_out", False)
    return f"Real images, {'held out' if aside else 'a random half against the other'}: {', '.join(parts)}."


def unranked(board: Board) -> str:
    """Why the board's runs have no rank; empty if they have."""
    reasons = "; ".join(board.protocol.deviations)
    return f"Unranked, because these runs are not what their track says: {reasons}." if reasons else ""


def _row(of: Row) -> dict[str, str]:
    records = of.finished
    row = {
        "rank": "" if of.rank is None else f"{of.rank}{' (tie)' if of.tied else ''}",
        "architecture": of.label,
        "seeds": str(len(records)),
    }
    for place, measurement in enumerate(records[0].metrics if records else ()):  # all runs of a track have the same
        values = [record.metrics[place].value for record in records]
        row[f"{measurement.protocol} {_arrow(measurement)}"] = _mean(values)
    raw = [record.raw.metrics[0] for record in records if record.raw is not None and record.raw.metrics]
    if raw and len(raw) == len(records):
        row[f"raw weights' {raw[0].protocol} {_arrow(raw[0])}"] = _mean([measurement.value for measurement in raw])
    for header, read in _COST_COLUMNS.items():
        row[header] = _mean([read(record) for record in records]) if records else ""
    row["status"] = of.status
    return row


def _arrow(measurement: Measurement) -> str:
    return "↑" if measurement.higher_is_better else "↓"


def _training_rate(record: Record) -> float:
    assert record.training is not None
    return record.training.images_per_second


def _sampling_rate(record: Record) -> float:
    assert record.sampling is not None
    return record.sampling.images_per_second


def _peak_memory(record: Record) -> float:
    assert record.memory is not None
    peak = record.memory.training
    return (peak.allocated or peak.resident or 0) / 2**20


def _million_parameters(record: Record) -> float:
    assert record.cost is not None
    return (record.cost.parameters - record.cost.train_only_parameters) / 1e6


def _million_macs(record: Record) -> float:
    assert record.cost is not None
    return record.cost.macs_per_image / 1e6


def _million_training_macs(record: Record) -> float:
    assert record.cost is not None
    return record.cost.training_macs_per_image / 1e6


_COST_COLUMNS: dict[str, Callable[[Record], float]] = {
    "params (M)": _million_parameters,
    "MACs (M)": _million_macs,
    "train MACs (M)": _million_training_macs,
    "train img/s": _training_rate,
    "sample img/s": _sampling_rate,
    "peak MiB": _peak_memory,
}


def _mean(values: Sequence[float]) -> str:
    """The mean; with several seeds also half the width of its 95 % interval."""
    of = Estimate(tuple(values))
    return _number(of.mean) + (f" ± {_number(of.half_width)}" if of.half_width is not None else "")


def _number(value: float) -> str:
    """Four significant digits, at most six decimals, never in exponent form."""
    digits = max(0, 3 - _exponent(value))
    return f"{value:,.{min(digits, 6)}f}"


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


_NOTES = """
How to read it: the first metric ranks (mean over seeds, ± their standard deviation); with one seed, close rows
are not distinguishable. Parameters leave out what only training uses. MACs are one forward pass for one image,
attention included; train MACs are all that one training image costs, every forward and backward of the
architecture's own loss. Images per second are medians of raw step and batch times. Peak memory is that of training:
the process's resident set on a CPU, libraries included, and the allocator's peak on CUDA. What real images score
comes from another number of images than the rows, so it is a mark to orient by, not a bound.
"""


def markdown(records: Sequence[Record]) -> str:
    """The leaderboard page: a table per board."""
    parts = [
        "# Leaderboard",
        "",
        "Generated from the records by `ditbench leaderboard build`. Do not edit.",
        "",
    ]
    for board in boards(records):
        commits = sorted({r.environment.git_commit or "?" for r in board.records if r.environment})
        parts += [f"## {_escape(board.title)}", ""]
        frame = table(board).map(_escape).rename(columns=_escape)
        parts += [frame.to_markdown(index=False, disable_numparse=True), ""]
        parts += [f"{_escape(note)}\n" for note in (unranked(board), floor(board)) if note]
        code = ", ".join(f"`{commit[:10]}`" for commit in commits) or "an unknown commit"
        parts += [
            f"Track hash `{board.protocol.track_hash}`; data `{board.protocol.data[:12]}`, compared with "
            f"`{board.protocol.reference[:12]}`; "
            f"{len(board.records)} runs; code at {code}; {_machines(board)}.",
            "",
        ]
    if not records:
        parts += ["No records yet.", ""]
    return "\n".join(parts) + _NOTES


def _machines(board: Board) -> str:
    """The machines, as the records name them."""
    names = {
        f"{e.gpu or e.cpu}, {e.threads} threads, torch {e.torch}"
        for e in (record.environment for record in board.records)
        if e is not None
    }
    warning = " (several machines: their speeds and memory do not compare)" if len(names) > 1 else ""
    return _escape(("; ".join(sorted(names)) or "no machine recorded") + warning)


def _escape(cell: object) -> str:
    """Text that can neither break a Markdown table nor smuggle HTML into the page."""
    text = " ".join(str(cell).split())
    text = html.escape(text, quote=False)
    return re.sub(r"([\\|`\[\]])", r"\\\1", text)


def csv(records: Sequence[Record]) -> str:
    """One row per run, unrounded: for other programs."""
    rows = [
        {
            "track": record.track.name,
            "track_version": record.track.version,
            "track_hash": record.track_hash,
            "ruleset": record.ruleset,
            "budget": record.budget,
            "deviations": "; ".join(record.deviations),
            "data_sha256": record.data_sha256,
            "reference_sha256": record.reference_sha256,
            "device": hardware_of(record),
            "architecture": record.architecture.label,
            "seed": record.seed,
            "run_id": record.run_id,
            "status": record.status,
            "reason": record.reason,
            **{measurement.protocol: measurement.value for measurement in record.metrics},
            **{f"raw {m.protocol}": m.value for m in (record.raw.metrics if record.raw else ())},
            **({header: read(record) for header, read in _COST_COLUMNS.items()} if record.status == "finished" else {}),
        }
        for record in sorted(records, key=lambda r: (r.track.name, r.track_hash, r.budget, r.run_id))
    ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def curves(records: Sequence[Record]) -> str:
    """A row per metric and milestone of the runs that were measured on the way, their ends included."""
    rows = [
        {
            "run_id": record.run_id,
            "architecture": record.architecture.label,
            "seed": record.seed,
            "at": at,
            "steps": spent.steps,
            "images": spent.images,
            "seconds": spent.seconds,
            "flops": spent.flops,
            "protocol": measurement.protocol,
            "value": measurement.value,
        }
        for record in records
        for at, spent, metrics in _course(record)
        for measurement in metrics
    ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n") if rows else ""


def _course(record: Record) -> Iterator[tuple[float, Milestone | TrainingFacts, list[Measurement]]]:
    """Share of the budget, what was spent by then, and what was measured; nothing if that was only at the end."""
    for milestone in record.milestones:
        yield milestone.at, milestone, milestone.metrics
    if record.milestones and record.training:
        yield 1.0, record.training, record.metrics


def write_leaderboard(
    records: Sequence[Record], folder: Path, page: str = "leaderboard.md", data: str = CSV_FILE
) -> None:
    """Write the page and the data files of all records; curves only if there are any."""
    write_text(folder / page, markdown(records))
    write_text(folder / data, csv(records))
    if on_the_way := curves(records):
        write_text(folder / CURVES_FILE, on_the_way)
