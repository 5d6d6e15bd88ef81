"""What a change of records does to the leaderboard, as Markdown for whoever reviews it.

Every string of a record stands in a code span, in which GitHub reads no mention, link, reference or HTML.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pandas as pd

from ..errors import BadFile, BadValue
from ..records.checkout import ask_git
from ..records.diff import fields
from ..records.diff import rank as suspicion
from ..records.record import Record
from ..records.verification import Verification
from ..storage.files import make_folder, temporary_folder, writing
from ..storage.schema import digest
from ..tracks.track import FOR_MEMORY
from . import tables
from .boards import Board, Row, boards

_Key = tuple[str, str, str, str, str, str]  # what makes two rows, before and after, the same
_Rows = dict[_Key, Row]
# Where the runs of one board differ by intent (architecture, seed, a native recipe) or as a result (what a budget of
# time or FLOPs bought): no confound.
_BY_INTENT = ("seed", "architecture", "training.steps", "training.images", "training.flops")
_BY_RULESET = ("recipe", "objective")  # under the native one, but for what fits training into memory
_MAX_NAMES, _MAX_VALUES, _MAX_LENGTH = 30, 6, 120  # a comment on GitHub holds 65,536 characters


def report(
    before: Sequence[Record] | None,
    after: Sequence[Record],
    base: str = "",
    checked_before: Sequence[Verification] = (),
    checked_after: Sequence[Verification] = (),
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
    parts = [
        "# Leaderboard report",
        _summary(before, after, base),
        *_alarms(before or (), after, checked_before, checked_after),
    ]
    for protocol in changed:
        parts += _section(old.get(protocol), new.get(protocol), compared=before is not None)
    if before is not None and (same := len(new.keys() - set(changed))):
        boards_left = _count(same, "other board" if changed else "board")
        parts.append(f"{boards_left} {'is as it was' if same == 1 else 'are as they were'}.")
    return "\n\n".join(parts) + "\n"


@contextmanager
def folder_at(ref: str, folder: Path) -> Iterator[Path]:
    """A temporary folder with the JSON files below `folder` as a commit had them.

    `BadValue` if there is no git, no repository or no such commit. A `BadFile` that is raised meanwhile names the
    commit instead of the temporary folder.
    """
    if not ref or ref.startswith("-"):  # git would take it for an option
        raise BadValue(f"{ref!r} names no commit.")
    commit = _git(folder, f"find the commit {ref!r}", "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    with temporary_folder() as there:
        for path, content in _files_at(commit.decode().strip(), folder):
            target = there / path
            make_folder(target.parent)
            with writing(target):
                target.write_bytes(content)
        try:
            yield there
        except BadFile as error:
            raise BadFile(str(error).replace(str(there), f"{ref}:{folder.as_posix()}")) from None


def _files_at(commit: str, folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The JSON files below a folder in a commit, by their paths from there."""
    listed = _git(folder, "list the records", "ls-tree", "-r", "-z", commit, "--", ".")
    entries = [entry.split("\t", 1) for entry in os.fsdecode(listed).split("\0") if entry.endswith(".json")]
    wanted = "".join(f"{facts.split()[2]}\n" for facts, _ in entries).encode()
    blobs = io.BytesIO(_git(folder, "read the records", "cat-file", "--batch", stdin=wanted))
    for _, path in entries:
        size = int(blobs.readline().split()[-1])
        content = blobs.read(size)
        blobs.readline()  # the line's end after it
        if ".." in PurePosixPath(path).parts:
            raise BadFile(f"The commit has a file {path!r}, which leads out of its folder.")
        yield PurePosixPath(path), content


def _git(folder: Path, purpose: str, *arguments: str, stdin: bytes = b"") -> bytes:
    try:
        return ask_git(folder, *arguments, stdin=stdin)
    except FileNotFoundError:
        raise BadValue(f"git is not installed, so it can't {purpose}.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        hint = said or "a shallow clone may lack it; git fetch gets it"
        raise BadValue(f"git can't {purpose} in {str(folder)!r}: {hint}.") from None


def _summary(before: Sequence[Record] | None, after: Sequence[Record], base: str) -> str:
    if before is None:
        return f"{_count(len(after), 'record')}, compared with nothing."
    old, new = {r.run_id: r for r in before}, {r.run_id: r for r in after}
    counts = {
        "new": new.keys() - old.keys(),
        "removed": old.keys() - new.keys(),
        "changed": {name for name in old.keys() & new.keys() if old[name] != new[name]},
    }
    told = ", ".join(f"{len(names)} {kind}" for kind, names in counts.items())
    source = f" with {_code(base)}" if base else ""
    return f"{_count(len(after), 'record')}, compared{source}: {told}." + (
        f" New: {_names(sorted(counts['new']))}." if counts["new"] else ""
    )


def _alarms(
    before: Sequence[Record],
    after: Sequence[Record],
    checked_before: Sequence[Verification],
    checked_after: Sequence[Verification],
) -> list[str]:
    """What a record must not do: change, go away, or be there twice; and every verification that came or went."""
    old, new = {r.run_id: r for r in before}, {r.run_id: r for r in after}
    twice = [name for name, count in Counter(r.run_id for r in after).items() if count > 1]
    lines = [f"{_code(name)} is there **more than once**." for name in sorted(twice)]
    lines += [f"{_code(name)} was **removed**." for name in sorted(old.keys() - new.keys())]
    lines += [_altered(old[name], new[name]) for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    lines += [_verified(one, "gone") for one in checked_before if one not in checked_after]
    lines += [_verified(one, "new") for one in checked_after if one not in checked_before]
    if not lines:
        return []
    return ["## Look at these first", "Records are immutable, but for what is added later.", _list(lines)]


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


def _section(before: Board | None, after: Board | None, compared: bool) -> list[str]:
    """One board: its rows now and before, and what must be known of them."""
    shown = after or before
    assert shown is not None
    old, new = _by_key(before), _by_key(after)
    news = {key: _news(old.get(key), new.get(key)) if compared else "" for key in {**new, **old}}
    parts = [f"## {_code(shown.title)}", f"`{shown.slug}`, track hash `{shown.protocol.track_hash}`"]
    if not shown.ranked:
        parts.append(
            f"Unranked, because these runs are not what their track says: {_names(shown.protocol.deviations)}."
        )
    parts.append(_table(old, new, news))
    if after is None:
        return parts
    fresh = [row for key, row in new.items() if news[key] or not compared]
    lines = [*_ties(after), *_verdicts(after, fresh), *_doubts(after), *_moves(after, old), *_failures(after)]
    if lines:
        parts.append(_list(lines))
    return [*parts, *_confounds(after)]


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
    lines = [
        {
            "rank": _rank(row) if key in new else "–",
            "before": _rank(old[key]) if compared and key in old else "",
            "architecture": _code(row.label),
            "hardware": _code(row.hardware),
            **_quality(row),
            "seeds": str(len(row.seeds)),
            "tier": row.tier,
            "what happened": news[key],
        }
        for key, row in {**new, **{key: row for key, row in old.items() if key not in new}}.items()
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
    """The metric that ranks, with its interval."""
    if not row.measurements:
        return {}
    first = row.measurements[0]
    return {_code(tables.quality_header(first)): tables.interval(row.quality[first.protocol])}


def _called(row: Row, board: Board) -> str:
    return _code(tables.name(row, board))


def _moves(board: Board, old: _Rows) -> list[str]:
    """Rows whose rank is another than before."""
    ranks = [(row, _rank(old[_key(row)]), _rank(row)) for row in board.rows if _key(row) in old]
    return [f"{_called(row, board)} moved: {was} → {now}." for row, was, now in ranks if was != now]


def _ties(board: Board) -> list[str]:
    """Rows that share a rank."""
    shared: dict[int, list[str]] = defaultdict(list)
    for row in board.rows:
        if row.rank is not None and row.tied:
            shared[row.rank].append(_called(row, board))
    return [f"A tie at rank {rank}: {_listed(names)}." for rank, names in sorted(shared.items())]


def _verdicts(board: Board, fresh: Sequence[Row]) -> list[str]:
    """What the seeds say of each row that is new, against every other."""
    lines = [f"{_called(row, board)} is provisional: {_provisional(row)}." for row in fresh if _provisional(row)]
    names = [_called(row, board) for row in board.comparable]
    new = {place for place, row in enumerate(board.comparable) if any(row is one for one in fresh)}
    pairs = [pair for pair in board.pairs if new & {pair.one, pair.other}]
    for words, told_apart in (("Told apart", True), ("Not told apart", False)):
        found = [f"{names[p.one]} and {names[p.other]} (p = {p.p:.2g})" for p in pairs if p.told_apart == told_apart]
        lines += [f"{words} by paired differences over their seeds: {_listed(found)}."] if found else []
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
        if any(value != values[0][1] for _, value in values):
            yield field, values


def _meant(field: str, ruleset: str) -> bool:
    """Whether runs of one board differ in a field by what they are, which is no confound."""
    fits_memory = field.rpartition(".")[2] in FOR_MEMORY
    return _within(field, _BY_INTENT) or (ruleset == "native" and _within(field, _BY_RULESET) and not fits_memory)


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
