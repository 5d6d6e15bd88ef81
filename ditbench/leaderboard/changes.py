"""What a change of records does to the leaderboard, as Markdown for whoever reviews it.

Every string of a record stands in a code span, in which GitHub reads no mention, link, reference or HTML.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ..records.diff import fields
from ..records.diff import rank as suspicion
from ..records.record import Record
from ..records.verification import TIERS, Verification
from ..storage.schema import digest
from ..tracks.recipe import FOR_MEMORY
from . import tables
from .boards import Board, Row, boards

_Key = tuple[str, str, str, str, str, str]  # what makes two rows, before and after, the same
_Rows = dict[_Key, Row]
# Where the runs of one board differ by intent (architecture, seed, a native recipe) or as a result (what a budget of
# time or FLOPs bought): no confound.
_BY_INTENT = ("seed", "architecture", "training.steps", "training.images", "training.flops")
_BY_RULESET = ("recipe", "objective")  # under the native and the tuned one, but for what fits training into memory
_MACHINES_MEMORY = "environment.memory_bytes"
_UNRANKED = "Unranked, because these runs are not what their track says"
_MAX_NAMES, _MAX_VALUES, _MAX_LENGTH = 30, 6, 120  # a comment on GitHub holds 65,536 characters
_MAX_TOLD, _MAX_GRIDS = 3, 6  # rows in the verdict, pictures side by side
_IN_URL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a record's names are so; what is not leads nowhere


@dataclass(frozen=True)
class Web:
    """Where a report's reader finds pictures and pages; without an address, there are none."""

    samples: str = ""  # of the folder with the grids of samples
    site: str = ""  # of the leaderboard's site

    def grid(self, run: Record) -> str:
        """The grid of a run's samples, shown; empty if it is nowhere."""
        track, name = run.track.name, run.run_id
        known = self.samples and _IN_URL.fullmatch(track) and _IN_URL.fullmatch(name)
        return f"![samples of {name}]({self.samples}/{track}/{name}.png)" if known else ""

    def page(self, run: Record) -> str:
        """A run's name, which leads to its page."""
        known = self.site and _IN_URL.fullmatch(run.run_id)
        return f"[{_code(run.run_id)}]({self.site}/runs/{run.run_id}.html)" if known else _code(run.run_id)


def report(
    before: Sequence[Record] | None,
    after: Sequence[Record],
    base: str = "",
    checked_before: Sequence[Verification] = (),
    checked_after: Sequence[Verification] = (),
    web: Web = Web(),
) -> str:
    """The boards that differ between two sets of records, and how far what is new can be believed, as Markdown.

    `base` names where `before` comes from; with None before, there is nothing to compare with and all boards are told.
    `checked_before` and `checked_after` are the verifications that lie beside the records.
    """
    old = {board.protocol: board for board in boards(before or (), checked_before)}
    new = {board.protocol: board for board in boards(after, checked_after)}
    changed = [
        of for of in sorted(old.keys() | new.keys()) if of not in old or of not in new or old[of].rows != new[of].rows
    ]
    compared = before is not None
    sections = [_Section(old.get(of), new.get(of), compared) for of in changed]
    alarms = _alarms(before or (), after, checked_before, checked_after)
    parts = [
        f"# {_verdict(sections, len(alarms), compared)}",
        _summary(before, after, base),
        *(["## Look at these first", "Records never change; things are only added.", _list(alarms)] if alarms else []),
    ]
    for section in sections:
        parts += section.parts(web)
    if compared and (same := len(new.keys() - set(changed))):
        parts.append(f"{_count(same, 'other board' if changed else 'board')} did not change.")
    return "\n\n".join(parts) + "\n"


def _verdict(sections: Sequence[_Section], alarms: int, compared: bool) -> str:
    """All of it in one line."""
    told = [line for section in sections for line in section.told()]
    rest = len(told) - _MAX_TOLD
    text = "; ".join(told[:_MAX_TOLD]) + (f"; {_count(rest, 'more row')}" if rest > 0 else "")
    first = f"Look at {_count(alarms, 'record')} first. " if alarms else ""
    return first + (text or "No board changes" if compared else f"{_count(len(sections), 'board')}, all rows")


def _summary(before: Sequence[Record] | None, after: Sequence[Record], base: str) -> str:
    if before is None:
        return f"{_count(len(after), 'record')}, compared with nothing."
    old, new = {r.run_id: r for r in before}, {r.run_id: r for r in after}
    counts = {
        "new": len(new.keys() - old.keys()),
        "removed": len(old.keys() - new.keys()),
        "changed": sum(old[name] != new[name] for name in old.keys() & new.keys()),
    }
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing is new"
    source = f" with {_code(base)}" if base else ""
    return f"{_count(len(after), 'record')}, compared{source}: {told}."


def _alarms(
    before: Sequence[Record],
    after: Sequence[Record],
    checked_before: Sequence[Verification],
    checked_after: Sequence[Verification],
) -> list[str]:
    """What a record must not do: change, go away, or be there twice; and verifications that came or went."""
    old, new = {r.run_id: r for r in before}, {r.run_id: r for r in after}
    twice = [name for name, count in Counter(r.run_id for r in after).items() if count > 1]
    lines = [f"{_code(name)} is there **more than once**." for name in sorted(twice)]
    lines += [f"{_code(name)} was **removed**." for name in sorted(old.keys() - new.keys())]
    lines += [_altered(old[name], new[name]) for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    lines += [_verified(one, "gone") for one in checked_before if one not in checked_after]
    lines += [_verified(one, "new") for one in checked_after if one not in checked_before]
    return lines


def _verified(one: Verification, news: str) -> str:
    """A line on what somebody found of a run."""
    said = "agrees" if one.confirmed else "**does not agree**"
    return f"A verification is **{news}**: {_code(one.run_id)}, {one.tier} by {_code(one.by)}, {said}."


def _altered(before: Record, after: Record) -> str:
    """A line on a record that is not what it was."""
    differing = [name for name in Record.model_fields if getattr(before, name) != getattr(after, name)]
    added = [name for name in differing if getattr(before, name) in (None, [], {})]
    edited = [name for name in differing if name not in added and name != "sha256"]
    if not edited:
        return f"{_code(after.run_id)} was added to: {_names(added)}."
    return f"{_code(after.run_id)} was **changed**: {_names(edited)}."


class _Section:
    """One board: its rows now and before, and what must be known of them."""

    def __init__(self, before: Board | None, after: Board | None, compared: bool) -> None:
        shown = after or before
        assert shown is not None
        self.before, self.after, self.shown = before, after, shown
        self.old, self.new = _by_key(before), _by_key(after)
        self.news = {key: _news(self.old.get(key), self.new.get(key)) if compared else "" for key in self.keys}
        self.fresh = [row for key, row in self.new.items() if self.news[key] or not compared]

    @property
    def keys(self) -> list[_Key]:
        """Of the rows as they are, then of those that are gone."""
        return [*self.new, *(key for key in self.old if key not in self.new)]

    def told(self) -> Iterator[str]:
        """Each row that is not what it was, in a few words."""
        where = f"{_code(self.shown.title)}"
        for key in filter(self.news.get, self.keys):
            was, now = self.old.get(key), self.new.get(key)
            if now is None:
                yield f"{_code(self.old[key].label)} leaves {where}"
                continue
            place = f"at rank {_rank(now)} of {len(self.new)}" if now.rank else f"as {_rank(now)}"
            yield f"{_code(now.label)} {'enters' if was is None else 'changes on'} {where} {place}"

    def parts(self, web: Web) -> list[str]:
        """The section's paragraphs."""
        parts = [f"## {_code(self.shown.title)}"]
        if not self.shown.ranked:
            parts.append(f"{_UNRANKED}: {_names(self.shown.protocol.deviations)}.")
        parts.append(_table(self.old, self.new, self.news))
        if self.after is None:
            return parts
        notes = [*_verdicts(self.after, self.fresh), *_doubts(self.after), *_failures(self.after)]
        parts += [_list(notes)] if notes else []
        if any(row.finished for row in self.fresh):
            parts += [_costs(self.after), *_grids(self.after, self.fresh, web), *self._pages(web)]
        return [*parts, *_confounds(self.after)]

    def _pages(self, web: Web) -> list[str]:
        """The new runs, which lead to their pages."""
        known = {run.run_id for row in self.old.values() for run in row.records}
        runs = [web.page(run) for row in self.fresh for run in row.records if run.run_id not in known]
        return [f"Pages of the new runs (there once merged): {_listed(runs)}."] if web.site and runs else []


def _by_key(board: Board | None) -> _Rows:
    return {_key(row): row for row in board.rows} if board else {}


def _key(row: Row) -> _Key:
    """A row is known by its oldest run, which others may join."""
    first = min(row.records, key=lambda record: (record.created, record.run_id))
    of, does = first.architecture, first.fingerprint
    network = digest(does.model_dump(mode="json"), 12) if does else ""
    return of.label, row.hardware, of.distribution, of.distribution_version, of.source_sha256, network


def _news(before: Row | None, after: Row | None) -> str:
    """What became of a row, in a few words; empty if nothing."""
    if before is None or after is None:
        return "**new**" if before is None else "**gone**"
    old, new = ({record.run_id: record for record in row.records} for row in (before, after))
    told = [
        (len(new.keys() - old.keys()), "new"),
        (len(old.keys() - new.keys()), "removed"),
        (sum(old[name] != new[name] for name in old.keys() & new.keys()), "changed"),
    ]
    words = [f"{_count(count, 'run')} {kind}" for count, kind in told if count]
    if bool(_provisional(before)) != bool(_provisional(after)):
        words.append("now provisional" if _provisional(after) else "no longer provisional")
    if before.tier != after.tier:
        words.append(f"tier {before.tier} → {after.tier}")
    return ", ".join(words)


def _table(old: _Rows, new: _Rows, news: Mapping[_Key, str]) -> str:
    """The rows as they are, then those that are gone; columns that say nothing are left out."""
    compared = any(news.values())
    rows = {**new, **{key: row for key, row in old.items() if key not in new}}
    machines, tiers = ({getattr(row, name) for row in rows.values()} for name in ("hardware", "tier"))
    lines = [
        {
            "rank": _rank(row) if key in new else "–",
            "before": _rank(old[key]) if compared and key in old else "",
            "architecture": _code(row.label),
            "what happened": news[key],
            "hardware": _code(row.hardware) if len(machines) > 1 else "",
            **_quality(row),
            "seeds": str(len(row.seeds)),
            "tier": row.tier if tiers != {TIERS[0]} else "",
        }
        for key, row in rows.items()
    ]
    frame = pd.DataFrame(lines).fillna("")
    return str(frame.loc[:, (frame != "").any()].to_markdown(index=False, disable_numparse=True))


def _rank(row: Row) -> str:
    if row.rank is None:
        return "provisional" if _provisional(row) else "unranked"
    return f"{row.rank} (tie)" if row.tied else str(row.rank)


def _provisional(row: Row) -> str:
    """Why the row has no rank yet; empty if it has one, or could have none."""
    return "" if row.records[0].deviations else row.provisional


def _quality(row: Row) -> dict[str, str]:
    """The metrics with their intervals, the one that ranks first."""
    return {_code(tables.quality_header(of)): tables.interval(row.quality[of.protocol]) for of in row.measurements}


def _called(row: Row, board: Board) -> str:
    return _code(tables.name(row, board))


def _costs(board: Board) -> str:
    """Speed, memory and size of each row."""
    shown = [column for column in tables.columns(board) if column.kind in ("speed", "size")]
    frame = pd.DataFrame({"what it costs": [_called(row, board) for row in board.rows]})
    for column in shown:
        frame[_code(column.header) if column.where else column.header] = list(map(column.text, board.rows))
    return str(frame.to_markdown(index=False, disable_numparse=True))


def _grids(board: Board, fresh: Sequence[Row], web: Web) -> list[str]:
    """The samples of seed 0 side by side, of what is new and of the best beside it."""
    ordered = sorted(board.rows, key=lambda row: not any(row is one for one in fresh))
    firsts = [(row, row.finished[0]) for row in ordered if row.finished and row.finished[0].seed == 0]
    shown = {_called(row, board): [grid] for row, run in firsts[:_MAX_GRIDS] if (grid := web.grid(run))}
    return [str(pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True))] if shown else []


def _verdicts(board: Board, fresh: Sequence[Row]) -> list[str]:
    """What the seeds say of each row that is new, against every other."""
    lines = [f"{_called(row, board)} is provisional: {_provisional(row)}." for row in fresh if _provisional(row)]
    names = [_called(row, board) for row in board.comparable]
    new = [place for place, row in enumerate(board.comparable) if any(row is one for one in fresh)]
    for at, place in enumerate(new):
        others = [(pair, {pair.one, pair.other} - {place, *new[:at]}) for pair in board.pairs]
        for words, apart in (("differs from", True), ("can't be told apart from", False)):
            found = [
                f"{names[other]} (p = {pair.p:.2g})"
                for pair, left in others
                if place in (pair.one, pair.other) and board.divides(pair) == apart
                for other in left
            ]
            lines += [f"{names[place]} {words} {_listed(found)} by paired t-tests over the seeds."] if found else []
    return lines


def _failures(board: Board) -> list[str]:
    """Runs without a result, and why."""
    bad = [(row, run) for row in board.rows for run in row.records if run.status != "finished"]
    return [f"{_called(row, board)}, seed {run.seed}, {run.status}: {_code(run.reason)}" for row, run in bad]


def _doubts(board: Board) -> list[str]:
    """Rows whose code nobody else can have."""
    known = [(row, run.environment) for row in board.rows for run in row.records if run.environment]
    dirty = dict.fromkeys(_called(row, board) for row, environment in known if environment.git_dirty)
    unknown = dict.fromkeys(_called(row, board) for row, environment in known if environment.git_commit is None)
    lines = [f"Run with uncommitted changes: {_listed(list(dirty))}."] if dirty else []
    return [*lines, *([f"Run with ditbench at an unknown commit: {_listed(list(unknown))}."] if unknown else [])]


def _confounds(board: Board) -> list[str]:
    """Where the runs of a board differ beside architecture and seed, most suspicious first."""
    runs = [(_called(row, board), run) for row in board.rows for run in row.finished]
    if len(runs) < 2:
        return []
    lines = [
        {"what differs": "" if place else _code(field), "value": value, "runs": whose}
        for field, values in _varied(runs)
        for place, (value, whose) in enumerate(_by_value(values))
    ]
    if not lines:
        return ["By their records, these runs differ in nothing but architecture and seed."]
    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return ["What else differs between these runs, most suspicious first:", str(table)]


def _varied(runs: Sequence[tuple[str, Record]]) -> Iterator[tuple[str, list[tuple[str, object]]]]:
    """Each field in which runs differ, and everybody's value: ``("environment.torch", [("`dit`", "2.15.0")])``."""
    protocols = [(name, dict(fields(run))) for name, run in runs]
    known = {field for _, protocol in protocols for field in protocol if not _meant(field, runs[0][1].ruleset)}
    for field in sorted(known, key=lambda field: (suspicion(field), field)):
        values = [(name, protocol.get(field)) for name, protocol in protocols]
        if not _alike(field, [value for _, value in values]):
            yield field, values


def _alike(field: str, values: Sequence[object]) -> bool:
    """Whether they are the same; a machine's memory is, where only what the kernel keeps of it differs."""
    if field == _MACHINES_MEMORY and (known := [value for value in values if isinstance(value, int)]) == values:
        return max(known) - min(known) <= max(known) / 100
    return all(value == values[0] for value in values)


def _meant(field: str, ruleset: str) -> bool:
    """Whether runs of one board differ in a field by what they are, which is no confound."""
    fits_memory = field.rpartition(".")[2] in FOR_MEMORY
    own = ruleset in ("native", "tuned") and _within(field, _BY_RULESET) and not fits_memory
    return own or _within(field, _BY_INTENT)


def _by_value(values: Sequence[tuple[str, object]]) -> Iterator[tuple[str, str]]:
    """Each value of a field, and the rows whose runs have it; if only some of a row's have it, how many."""
    totals = Counter(name for name, _ in values)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for name, value in values:
        groups["" if value is None else str(value)][name] += 1
    for value, names in [*groups.items()][:_MAX_VALUES]:
        rows = [
            name if count == totals[name] else f"{name} ({count} of {totals[name]})" for name, count in names.items()
        ]
        yield _shown(value), _listed(rows)
    if len(groups) > _MAX_VALUES:
        yield f"and {_count(len(groups) - _MAX_VALUES, 'more value')}", ""


def _shown(value: str) -> str:
    return _code(value[:12] if re.fullmatch("[0-9a-f]{40,64}", value) else value) or "nothing noted"


def _within(field: str, parts: Iterable[str]) -> bool:
    return any(f"{field}.".startswith(f"{part}.") for part in parts)


def _code(text: object) -> str:
    """Text as a code span, on one line and not too long; what can't stand in one in a table is replaced."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    cut = plain if len(plain) <= _MAX_LENGTH else f"{plain[:_MAX_LENGTH]}…"
    return f"`{cut.replace('`', chr(39)).replace('|', '¦')}`" if cut else ""


def _list(lines: Sequence[str]) -> str:
    rest = len(lines) - _MAX_NAMES
    return "\n".join(f"- {line}" for line in [*lines[:_MAX_NAMES], *([f"and {rest} more"] if rest > 0 else [])])


def _names(texts: Iterable[object]) -> str:
    return _listed([_code(text) for text in texts])


def _listed(texts: Sequence[str]) -> str:
    rest = len(texts) - _MAX_NAMES
    return ", ".join(texts[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
