"""Records to tables. Every number is a view of the records; nothing here imports torch."""

from __future__ import annotations

import html
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .budget import Budget
from .record import Measurement, Milestone, Record, TrainingFacts
from .storage import write_text

_Key = tuple[str, int, str, str, str, str, str, str, tuple[str, ...]]  # the fields of a `Board`, but its records
MARKDOWN_FILE, CSV_FILE, CURVES_FILE = "README.md", "leaderboard.csv", "curves.csv"


@dataclass(frozen=True)
class Board:
    """Runs that may be compared: same track, protocol, ruleset, budget, data, reference and kind of device."""

    track: str
    version: int
    track_hash: str
    ruleset: str
    budget: str
    device: str
    data: str  # sha256, as the next
    reference: str
    deviations: tuple[str, ...]
    records: tuple[Record, ...]

    @property
    def ranked(self) -> bool:
        """Whether the runs are what their track says."""
        return not self.deviations

    @property
    def title(self) -> str:
        """What the board compares, in one line."""
        ruleset = "" if self.ruleset == "matched" else f", {self.ruleset} recipes"
        rank = "" if self.ranked else ", unranked"
        return f"{self.track} v{self.version}{ruleset}, {self.budget}, {self.device}{rank}"


@dataclass(frozen=True)
class Entry:
    """One architecture, as one version of its plugin has it: its runs over all seeds."""

    label: str
    records: tuple[Record, ...]

    @property
    def finished(self) -> tuple[Record, ...]:
        """The runs that have numbers."""
        return tuple(record for record in self.records if record.status == "finished")

    @property
    def status(self) -> str:
        """``finished``, or how many runs ended otherwise and why the first did."""
        bad = [record for record in self.records if record.status != "finished"]
        if not bad:
            return "finished"
        share = f" ({len(bad)} of {len(self.records)})" if len(self.records) > 1 else ""
        return f"{bad[0].status}{share}: {bad[0].reason}"


def boards(records: Iterable[Record]) -> list[Board]:
    """Sort records into boards; numbers of different protocols, data or devices never share one."""
    groups: dict[_Key, list[Record]] = defaultdict(list)
    for record in records:
        groups[_board_key(record)].append(record)
    return [Board(*key, tuple(group)) for key, group in sorted(groups.items())]


def _board_key(record: Record) -> _Key:
    return (
        record.track.name,
        record.track.version,
        record.track_hash,
        record.ruleset,
        record.budget,
        _device_name(record),
        record.data_sha256,
        record.reference_sha256,
        tuple(record.deviations),
    )


def on_the_boards_of(records: Iterable[Record], others: Iterable[Record]) -> list[Record]:
    """Those of the others that share a board with one of the records."""
    run_ids = {record.run_id for record in records}
    return [
        record
        for board in boards(others)
        if run_ids & {record.run_id for record in board.records}
        for record in board.records
    ]


def entries(board: Board) -> list[Entry]:
    """A board's architectures, best first by the track's first metric; those without a number last."""
    groups: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in board.records:
        of = record.architecture
        groups[of.label, of.distribution, of.distribution_version, of.source_sha256].append(record)
    labels = Counter(label for label, *_ in groups)
    found = []
    for (label, distribution, version, source), group in groups.items():
        full = label if labels[label] == 1 else f"{label} ({distribution} {version}, {source[:6]})"
        found.append(Entry(full, tuple(sorted(group, key=lambda record: record.seed))))
    return sorted(found, key=_rank_key)


def _rank_key(entry: Entry) -> tuple[float, str]:
    values = [record.metrics[0] for record in entry.finished if record.metrics]
    if not values:
        return float("inf"), entry.label
    sign = -1 if values[0].higher_is_better else 1
    return sign * statistics.fmean(value.value for value in values), entry.label


def _device_name(record: Record) -> str:
    """GPU model, or the processor's kind; where time is the budget, its model and threads, too."""
    if record.environment is None:
        return record.device.partition(":")[0]
    timed = Budget.parse(record.budget).unit in ("seconds", "gpu_hours")
    on_cpu = f"{record.environment.cpu}, {record.environment.threads} threads" if timed else "cpu"
    return record.environment.gpu or on_cpu


def table(board: Board) -> pd.DataFrame:
    """Text cells: a row per architecture, a column per full protocol name."""
    rows = [_row(rank if board.ranked else None, entry) for rank, entry in enumerate(entries(board), start=1)]
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
    reasons = "; ".join(board.deviations)
    return f"Unranked, because these runs are not what their track says: {reasons}." if reasons else ""


def _row(rank: int | None, entry: Entry) -> dict[str, str]:
    records = entry.finished
    row = {
        "rank": str(rank) if records and rank else "",
        "architecture": entry.label,
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
    row["status"] = entry.status
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
    """The mean; with several seeds also the standard deviation over them."""
    text = _number(statistics.fmean(values))
    return text if len(values) < 2 else f"{text} ± {_number(statistics.stdev(values))}"


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
            f"Track hash `{board.track_hash}`; data `{board.data[:12]}`, compared with `{board.reference[:12]}`; "
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
            "device": _device_name(record),
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
