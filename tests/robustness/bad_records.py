"""Bad records of every kind, field by field as their models know them, and JSON that is none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from judge import Case
from records import evaluation, sound
from tampering import SEALED, TAMPERED, content_of
from verifications import checked, sealed
from wrong import Wrong, some, wrong

from ditbench.datasets.shards import Manifest, PreparationPlan
from ditbench.records.evaluation import Evaluation
from ditbench.records.profile import Profile, read_profile
from ditbench.records.record import Record, seal
from ditbench.records.verification import Verification

FILE = "record.json"
PROFILE = Path(__file__).parents[1] / "profiles" / "dit-S-2-h100.profile.json"
_TEXTS = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "bytes": bytes(range(128, 256)),
    "UTF-16": "{}".encode("utf-16"),
    "a NUL": b'{"\0": 1}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "a long number": b'{"schema_version": ' + b"9" * 10_000 + b"}",
    "no field": b"{}",
    "half of it": None,
}


def cases(base: Path) -> Iterator[Case]:
    """All of them."""
    yield from _of_runs()
    yield from _tampered()
    yield from _of_others()
    yield from _texts()
    yield from _prepared(base)


def _of_runs() -> Iterator[Case]:
    """A run's record in a form that none has, to those who read one and to those who read a folder."""
    good = content_of()
    ways = (("diff", FILE, FILE), ("leaderboard", "report", "."), ("leaderboard", "build", ".", "--out", "out"))
    for number, one in enumerate(some(wrong(Record, good, strict=False), 1)):
        way = ways[number % len(ways)]
        yield _case("record", one, way, code=2 if way[0] == "diff" else 0)  # who reads a folder leaves it out


def _tampered() -> Iterator[Case]:
    """Records that can't be true, to those who check them; sealed anew where the seal would tell already."""
    for name, (change, _) in TAMPERED.items():
        content = content_of()
        change(content)
        content["sha256"] = seal(content) if not _holds_odd(content) else content["sha256"]
        yield _faulty(f"tampered: {name}", content)
    for name, change in SEALED.items():
        content = content_of()
        change(content)
        yield _faulty(f"sealed: {name}", content)
    for one in some(wrong(Record, content_of(), strict=True), 1):
        yield _faulty(f"validated: {one.place}: {one.what}", one.content)


def _holds_odd(content: Any) -> bool:
    try:
        json.dumps(content, allow_nan=False).encode()
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, UnicodeEncodeError):
        return True
    return False


def _of_others() -> Iterator[Case]:
    """Evaluations, verifications and profiles."""
    of_evaluation = json.loads(evaluation().model_dump_json())
    for one in some(wrong(Evaluation, of_evaluation, strict=False), 1):
        yield _case("evaluation", one, ("diff", FILE, FILE), "bad.evaluation.json")
    verified = json.loads(checked(sealed(sound())).model_dump_json())
    for one in some(wrong(Verification, verified, strict=False), 1):
        name = "run.re-evaluated.json"
        yield _case("verification", one, ("leaderboard", "report", "."), name)
    profile = json.loads(PROFILE.read_bytes())
    mode = read_profile(PROFILE).setup.mode
    for one in some(wrong(Profile, profile, strict=False), 1):
        command = ("plan", "--plugins", "toy", "--track", "tiny", "--profiles", ".")
        yield _case("profile", one, command, f"x-{mode}.profile.json")


def _prepared(base: Path) -> Iterator[Case]:
    """The manifest of prepared data, field by field."""
    good = json.loads((base / "shards" / "manifest.json").read_bytes())
    for one in some(wrong(Manifest, good, strict=False), 1):
        yield Case(
            "shards",
            f"manifest {one.place}: {one.what}",
            ("data", "stats", "shards"),
            (one.field, "manifest.json"),
            partial(_spoil, base=base, name="manifest.json", content=_dumped(one.content)),
        )
    plan = json.loads((base / "shards" / "plan.json").read_bytes())
    for one in some(wrong(PreparationPlan, plan, strict=False), 1):
        again = ("data", "prepare", str(base / "pictures"), "--resolution=8", "--out=shards")
        yield Case(
            "shards",
            f"plan {one.place}: {one.what}",
            again,
            (one.field, "plan.json"),
            partial(_spoil, base=base, name="plan.json", content=_dumped(one.content), less=("manifest.json",)),
        )


def _spoil(folder: Path, base: Path, name: str, content: bytes, less: tuple[str, ...] = ()) -> None:
    copy_of(base / "shards", folder / "shards", less)
    (folder / "shards" / name).unlink(missing_ok=True)
    (folder / "shards" / name).write_bytes(content)


def copy_of(source: Path, target: Path, less: tuple[str, ...] = ()) -> None:
    """A folder with links to all files of another, so that any can be replaced."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name in less:
            continue
        if entry.is_dir():
            copy_of(entry, target / entry.name)
        else:
            os.link(entry, target / entry.name)


def _texts() -> Iterator[Case]:
    good = json.dumps(content_of()).encode()
    for name, text in _TEXTS.items():
        make = partial(_write, content=good[: len(good) // 2] if text is None else text)
        yield Case("record", f"text: {name}, diff", ("diff", FILE, FILE), (FILE,), make)
        yield Case("record", f"text: {name}, leaderboard", ("leaderboard", "report", "."), (FILE,), make, code=0)
        yield Case("record", f"text: {name}, validate", ("records", "validate", FILE), (FILE,), make, code=1)
    odd = {
        "a pipe": lambda folder: os.mkfifo(folder / FILE),
        "a folder": lambda folder: (folder / FILE).mkdir(),
        "a link to itself": lambda folder: (folder / FILE).symlink_to(FILE),
    }
    for name, make in odd.items():
        yield Case("record", f"{name}, diff", ("diff", FILE, FILE), (FILE,), make)
    for command, code in (
        (("leaderboard", "report", "."), 0),
        (("leaderboard", "build", ".", "--out=out"), 0),
        (("records", "submit", ".", "--by=A", "--to=run"), 2),
    ):
        yield Case("record", f"a pipe, {command[1]}", command, (FILE, "record.json"), _pipes, code=code)
    yield Case("record", "a pipe, validate", ("records", "validate", "."), (FILE,), _pipes, code=1)


def _pipes(folder: Path) -> None:
    os.mkfifo(folder / FILE)
    (folder / "run").mkdir()
    os.mkfifo(folder / "run" / "record.json")


def _case(kind: str, one: Wrong, command: tuple[str, ...], file: str = FILE, code: int = 2) -> Case:
    command = tuple(file if part == FILE else part for part in command)
    return Case(
        kind,
        f"{' '.join(command[:2])}, {one.place}: {one.what}",
        command,
        (one.field,),
        partial(_write, content=_dumped(one.content), file=file),
        code=code,
    )


def _faulty(name: str, content: dict[str, Any]) -> Case:
    return Case(
        "record", name[:120], ("records", "validate", FILE), (FILE,), partial(_write, content=_dumped(content)), code=1
    )


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


def _write(folder: Path, content: bytes, file: str = FILE) -> None:
    (folder / file).write_bytes(content)
