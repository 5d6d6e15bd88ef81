"""The leaderboard for other programs: a CSV row per run, a CSV row per point of a curve, and rows as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ..errors import brief
from ..records.record import Record
from ..records.verification import Verification, tier_of
from .boards import Board, Row
from .costs import FACTS, RARE
from .intervals import Estimate, Pair
from .learning_curves import course, reached
from .notes import floors
from .protocol import told_apart
from .reported import Reported
from .speeds import RATES
from .tables import measurements, raw_weights

JSON_VERSION = 3
# What makes a spreadsheet compute a text: at its beginning, also behind quotes, and after a semicolon, which many take
# for the end of a cell.
_FORMULA = re.compile(r"(^|;)([\s\"']*)(?=[=+\-@＝＋－＠])")


def csv(boards: Sequence[Board]) -> str:
    """One row per run, unrounded."""
    rows = [_run(record, row, board) for board in boards for row in board.rows for record in row.records]
    measured, costs = (*_seen(rows, "quality"), *_seen(rows, "raw")), (fact.header for fact in FACTS)
    heads = [*_HEADS, *measured, *_NOISES, *costs, *_seen(rows, "rare"), *_seen(rows, "alone")]
    flat = [{name: cell for part in row.values() for name, cell in part.items()} for row in rows]
    frame = pd.DataFrame(flat, columns=heads)
    return frame.rename(columns=harmless).to_csv(index=False, lineterminator="\n")


_HEADS = (
    "track", "track_version", "track_hash", "ruleset", "budget", "deviations", "data_sha256", "reference_sha256",
    "hardware", "parallel", "tier", "architecture", "seed", "run_id", "status", "reason",
)  # fmt: skip
# Of the metric that ranks: all of it, over the row's seeds; and what of it this run's samples leave open.
_NOISES = ("noise over seeds", "part of the samples in it")


def _run(record: Record, row: Row, board: Board) -> dict[str, dict[str, Any]]:
    of = board.protocol
    done = record.status == "finished"
    each = {fact.header: _scaled(fact.read(record), fact.scale) for fact in RARE if done}
    alone = {rate.header: rate.of(row) for rate in RATES if done}
    head = (
        of.track, of.version, of.track_hash, told_apart(record.ruleset, record), of.budget, "; ".join(of.deviations),
        of.data, of.reference,
        row.hardware, record.environment and record.environment.parallel, tier_of(record, row.verifications),
        record.architecture.label, record.seed, record.run_id, record.status, record.reason or "",
    )  # fmt: skip
    return {
        "head": {name: _cell(value) for name, value in zip(_HEADS, head, strict=True)},
        "quality": {measurement.protocol: measurement.value for measurement in record.metrics},
        "raw": {f"raw {m.protocol}": m.value for m in (record.raw.metrics if record.raw else ())},
        "noise": _noise(record, row),
        "cost": {fact.header: _scaled(fact.read(record), fact.scale) for fact in FACTS if done},
        "rare": {name: value for name, value in each.items() if value is not None},
        "alone": {name: value for name, value in alone.items() if value is not None},
    }


def _noise(record: Record, row: Row) -> dict[str, float | None]:
    if not record.metrics:
        return {}
    over_seeds = next(iter(row.quality.values())).deviation
    return dict(zip(_NOISES, (over_seeds, record.metrics[0].sample_error), strict=True))


def _seen(rows: Iterable[Mapping[str, Mapping[str, Any]]], part: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row[part]))


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value if scale == 1 else value / scale


def curves(boards: Sequence[Board]) -> str:
    """A row per metric and point of the runs that were measured on the way, unrounded; empty if none was."""
    rows = [
        {
            "board": board.slug,
            "run_id": record.run_id,
            "architecture": _cell(row.label),
            "seed": record.seed,
            "at": point.at,
            "steps": point.steps,
            "images": point.images,
            "seconds": point.seconds,
            "flops": point.flops,
            "protocol": _cell(protocol),
            "value": value,
        }
        for board in boards
        for row in board.rows
        for record in row.finished
        for point in course(record)
        for protocol, value in point.quality.items()
    ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n") if rows else ""


def _cell(value: object) -> object:
    return harmless(value) if isinstance(value, str) else value


def harmless(text: str) -> str:
    """On one line, not too long, and no formula: a spreadsheet shows text after an apostrophe as it is."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return _FORMULA.sub(r"\1\2'", brief(line))


def json_text(boards: Sequence[Board], reported: Sequence[Reported] = ()) -> str:
    """Boards, rows and pairs, and published numbers, unrounded and in plain units."""
    content = {
        "schema_version": JSON_VERSION,
        "boards": [_board(board) for board in boards],
        "reported": [_published(of) for of in reported],
    }
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _board(board: Board) -> dict[str, Any]:
    rows = {id(row): place for place, row in enumerate(board.rows)}
    places = [rows[id(row)] for row in board.comparable]
    return {
        "slug": board.slug,
        "title": board.title,
        "ranked": board.ranked,
        "protocol": board.protocol._asdict(),
        "metrics": {of.protocol: {"higher_is_better": of.higher_is_better} for of in measurements(board)},
        "target": board.target,
        "floors": {of.protocol: {"value": of.value, "spread": of.spread} for of in floors(board)},
        "rows": [_row(row, board) for row in board.rows],
        "level": _stable(board.level),
        "pairs": [_pair(pair, places) for pair in board.pairs],
    }


def _pair(pair: Pair, places: Sequence[int]) -> dict[str, Any]:
    """By the places of its rows in the board."""
    return {**vars(pair), "one": places[pair.one], "other": places[pair.other], "p": _stable(pair.p)}


def _stable(value: float) -> float:
    """Without the digits in which versions of scipy differ, so that the file is the same everywhere."""
    return float(f"{value:.10g}")


def _row(row: Row, board: Board) -> dict[str, Any]:
    return {
        "architecture": row.label,
        "hardware": row.hardware,
        "beside_others": any(clock.beside_others for clock in row.clocks[:1]),  # when its times were measured
        "tier": row.tier,
        "rank": row.rank,
        "tied": row.tied,
        "provisional": row.provisional,
        "remark": row.remark,
        "status": row.status,
        "seeds": sorted(row.seeds),
        "run_ids": [record.run_id for record in row.records],
        "verifications": [_verification(found) for found in row.verifications],
        "quality": {protocol: quality_of(row, protocol) for protocol in row.quality},
        "raw_weights": _estimate(raw_weights(row)),
        "cost": {fact.key: _span(fact.estimate(row)) for fact in FACTS} | _rare(row),
        "alone": _alone(row),
        "to_target": _to_target(row, board),
    }


def _rare(row: Row) -> dict[str, Any]:
    """What only some runs have: those in several processes, those with a search."""
    found = {fact.key: fact.estimate(row) for fact in RARE}
    return {key: _span(of) for key, of in found.items() if of is not None}


def _alone(row: Row) -> dict[str, Any] | None:
    """What a profile says of the row's network; None: there is none."""
    if row.profile is None:
        return None
    return {**{rate.key: rate.of(row) for rate in RATES}, "created": row.profile.created.isoformat()}


def _verification(found: Verification) -> dict[str, Any]:
    """Who checked which run, when, with what, and what came of it."""
    return {
        "run_id": found.run_id,
        "tier": found.tier,
        "by": found.by,
        "created": found.created.isoformat(),
        "ditbench": found.environment.ditbench,
        "git_commit": found.environment.git_commit,
        "compared": [{**one.model_dump(), "agrees": one.agrees} for one in found.compared],
    }


def quality_of(row: Row, protocol: str) -> dict[str, Any]:
    """A metric over a row's seeds: mean, ends of the 95 % interval, deviation, the samples' part, and by seed."""
    return {
        **interval(row.quality[protocol]),
        "sd": row.quality[protocol].deviation,
        "sample_noise": row.sample_noise.get(protocol),
        "values": {str(seed): value for seed, value in row.metrics[protocol].items()},
    }


def interval(of: Estimate) -> dict[str, float | None]:
    """A mean and its 95 % interval, without the digits in which versions of scipy differ."""
    half = of.half_width
    low, high = (None, None) if half is None else (_stable(of.mean - half), _stable(of.mean + half))
    return {"mean": of.mean, "low": low, "high": high}


def _estimate(of: Estimate | None) -> dict[str, float | None] | None:
    return None if of is None else interval(of)


def _span(of: Estimate | None) -> dict[str, float] | None:
    """Of a cost, which has no interval."""
    return None if of is None else {"mean": of.mean, "least": min(of.values), "most": max(of.values)}


def _to_target(row: Row, board: Board) -> dict[str, Any] | None:
    got = reached(row, board)
    if got is None:
        return None
    timed = (reached(row.by(row.clocks[0]), board) if row.clocks else None) or got
    spent = {"images": got.images, "seconds": timed.seconds, "flops": got.flops}
    return {"reached": len(got.found), "of": len(got.points), **{name: _span(of) for name, of in spent.items()}}


def _published(of: Reported) -> dict[str, Any]:
    setting = of.setting.model_dump(exclude={"values"})
    measured = [{**interval(estimate), "seeds": len(estimate.values)} for estimate in of.measured]
    return {
        **setting,
        "architecture": of.architecture,
        "protocol": of.protocol,
        "reported": of.value,
        "measured": measured,
    }
