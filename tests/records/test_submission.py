"""What is put forward is checked, whole, and tells nothing of the machine; and the texts name commands that exist."""

import getpass
import hashlib
import json
import re
import shlex
import socket
from datetime import date
from functools import partial
from pathlib import Path

import pytest
import typer
from guided import curve
from records import ENVIRONMENT, named, sound, unfinished
from tampering import GOOD, chunk, png

from ditbench.cli import app
from ditbench.errors import BadFile, BadValue, DitbenchError
from ditbench.records import submission
from ditbench.records.guidance import file_name, read_curve, write_curve
from ditbench.records.lengths import EmaLengths, MeasuredLength, TakenSnapshot, sealed, write_lengths
from ditbench.records.record import Submission, read_record, write_record
from ditbench.records.validation import files as validation
from ditbench.records.validation.privacy import betrayals
from ditbench.registry import Registry

submit = partial(submission.submit, registry=Registry.installed())
validate = partial(validation.validate, registry=Registry.installed())
ROOT = Path(__file__).parents[2]
TODAY = date(2026, 1, 3)


def put(folder, record, grid=None):
    """A run's directory, with all that a run leaves; and where."""
    grid = png(mark=record.run_id.encode()) if grid is None else grid
    weights, names = record.run_id.encode(), ("ema.safetensors", "samples.png")
    if record.status == "finished":
        sums = [hashlib.sha256(content).hexdigest() for content in (weights, grid)]
        record = record.model_copy(update={"files": dict(zip(names, sums, strict=True))})
    place = folder / record.run_id
    place.mkdir(parents=True)
    left = {"ema.safetensors": weights, "samples.png": grid}  # also by a run that failed while it was measured
    for name, content in {**left, "log.txt": b"/home/me", "milestones.json": b"[]"}.items():
        (place / name).write_bytes(content)
    write_record(record, place / "record.json")
    return place


@pytest.fixture
def to(tmp_path):
    board = tmp_path / "board"
    board.mkdir()
    return board


def diverged(seed):
    same = {name: getattr(GOOD, name) for name in ("budget", "data_sha256", "reference_sha256", "environment")}
    return named(unfinished("dit:nano", seed=seed).model_copy(update=same))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_record_and_grid_are_copied_and_no_more(tmp_path, to, ditbench):
    track = tmp_path / "runs" / "digits"
    for record in (sound(), sound(seed=1), diverged(2)):
        put(track, record)
    out = ditbench("records", "submit", str(track), "--by", "Ada", "--to", str(to), "--weights-url", "https://x.org/a")
    names = [f"dit-nano-seed{record.seed}-{record.run_hash[:8]}" for record in (sound(), sound(seed=1), diverged(2))]
    assert files(to) == [f"records/digits/{name}.json" for name in names] + [
        f"samples/digits/{name}.png" for name in names[:2]
    ]
    page = to.parent / "README.md"
    assert "3 records" in out and f"git add {to} {page}\n" in out
    asked = ("records", "submit", str(track), "--by", "Ada", "--to", str(to), "--weights-url", "https://x.org/a")
    told = json.loads(ditbench(*asked, "--json"))  # again: nothing is written
    assert [Path(file).stem for file in told["files"]] == names and told["next"][-1] == f"git add {to} {page}"
    assert f"ditbench leaderboard build {to / 'records'} --out {to} --page {page}\n" in out
    one = read_record(to / "records" / "digits" / f"{names[0]}.json")
    assert one.submission == Submission(by="Ada", date=date.today(), weights="https://x.org/a")
    run = read_record(track / names[0] / "record.json")
    assert one.model_copy(update={"submission": None, "sha256": run.sha256}) == run and one.sha256 != run.sha256
    assert not [fault for checked in validate([to]) for fault in checked.faults]
    assert not list(to.rglob("*.tmp"))


def test_the_same_again_changes_nothing_and_nothing_is_overwritten(tmp_path, to):
    run = put(tmp_path, sound())
    (first,) = submit(run, "Ada", to, today=TODAY)
    before = first.record_path.read_bytes()
    submit(run, "Ada", to, today=date(2026, 5, 5))
    assert first.record_path.read_bytes() == before
    submit(run, "Ada", to, "https://x.org/weights", TODAY)
    assert read_record(first.record_path).submission.weights == "https://x.org/weights"
    with pytest.raises(DitbenchError, match="submitted by 'Ada'"):
        submit(run, "Grace", to, today=TODAY)
    verified = first.record_path.parent / f"{first.record.run_id}.0a1b2c.re-trained.json"
    verified.write_text("{}")
    with pytest.raises(DitbenchError, match="has been verified"):
        submit(run, "Ada", to, "https://x.org/others", TODAY)
    write_record(read_record(first.record_path).model_copy(update={"submission": None}), first.record_path)
    with pytest.raises(DitbenchError, match="has been verified"):  # also where nobody had put it forward
        submit(run, "Ada", to, today=TODAY)
    verified.unlink()
    submit(run, "Ada", to, today=TODAY)
    write_record(read_record(run / "record.json").model_copy(update={"environment": None}), first.record_path)
    before = first.record_path.read_bytes()
    write_record(sound(fid=1.0, files=read_record(run / "record.json").files), run / "record.json")
    with pytest.raises(BadFile, match=r"can't be read|is wrong"):
        submit(run, "Ada", to, today=TODAY)
    write_record(sound(files=read_record(run / "record.json").files), first.record_path)
    with pytest.raises(DitbenchError, match="with other content; it is not overwritten"):
        submit(run, "Ada", to, today=TODAY)


def test_a_curve_of_guidance_goes_along_also_later_and_must_hold(tmp_path, to):
    run = put(tmp_path, sound())
    record = read_record(run / "record.json")
    submit(run, "Ada", to, today=TODAY)
    write_curve(curve(record, {1.0: 1.25}), run)
    (first,) = submit(run, "Ada", to, today=TODAY)
    name = file_name(record.run_id)
    copy = first.record_path.with_name(name)
    assert copy.read_bytes() == (run / name).read_bytes() and not [one.lines for one in validate([to]) if one.faults]
    write_curve(curve(record, {1.0: 1.25, 2.0: 1.0}), run)
    submit(run, "Ada", to, today=TODAY)
    assert read_curve(copy).scales == [1.0, 2.0]
    write_curve(curve(record, {1.0: 1.25}).model_copy(update={"weights_sha256": "0" * 64}), run)
    with pytest.raises(BadFile, match=r"weights_sha256 is .* \(the record's weights\)"):
        submit(run, "Ada", to, today=TODAY)


def test_other_lengths_of_ema_go_along(tmp_path, to):
    run = put(tmp_path, sound())
    record = read_record(run / "record.json")
    found = EmaLengths(
        run_id=record.run_id, run_hash=record.run_hash, weights_sha256=record.files["ema.safetensors"],
        created=record.created, environment=record.environment, device="cpu",
        snapshots=[TakenSnapshot(time=1.0, steps=3, lengths=[0.05, 0.1], sha256="0" * 64)],
        lengths=[MeasuredLength(length=0.07, profile_error=0.01, metrics=record.metrics[:1])],
    )  # fmt: skip
    path = write_lengths(sealed(found), run)
    (one,) = submit(run, "Ada", to, today=TODAY)
    copy = one.record_path.with_name(path.name)
    assert copy.read_bytes() == path.read_bytes() and not [one.lines for one in validate([to]) if one.faults]


def test_a_seed_that_is_left_out_is_asked_for(tmp_path, to):
    places = [put(tmp_path / "digits", sound(seed=seed)) for seed in (0, 1, 2)]
    with pytest.raises(BadValue, match=r"dit-nano-seed2-.*: seed 0 is missing"):
        submit(places[2], "Ada", to)
    submit(places[0], "Ada", to)
    with pytest.raises(BadValue, match="seed 1 is missing"):
        submit(places[2], "Ada", to)
    submit(places[1], "Ada", to)
    submit(places[2], "Ada", to)  # beside those that are there
    assert len(files(to / "records")) == 3


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (diverged(0).model_copy(update={"status": "interrupted"}), "was interrupted; give its `ditbench run` again"),
        (sound().model_copy(update={"run_hash": "0" * 12}), r"run_hash is \"000000000000\""),
        (diverged(0).model_copy(update={"reason": "no file /home/ada/data"}), "reason holds an absolute path"),
        (diverged(0).model_copy(update={"reason": r"no file C:\Users\ada"}), "reason holds an absolute path"),
        (diverged(0).model_copy(update={"reason": "host node-17.lab is full"}), "reason holds this machine's name"),
        (diverged(0).model_copy(update={"reason": "NODE-17 is full"}), "reason holds this machine's name"),
        (diverged(0).model_copy(update={"reason": "ask Lovelace why"}), "reason holds your user's name"),
        (sound(deviations=["the data set /data/x, not digits"]), "deviations.0 holds an absolute path"),
        (sound(data=sound().data.model_copy(update={"name": "lovelace-photos"})), "data.name holds your user's name"),
    ],
    ids=["interrupted", "wrong", "path", "windows", "host", "capitals", "user", "deviation", "data"],
)  # fmt: skip
def test_what_is_not_to_be_put_forward_is_refused_by_name(tmp_path, to, monkeypatch, record, words):
    monkeypatch.setattr(socket, "gethostname", lambda: "node-17.lab")
    monkeypatch.setattr(getpass, "getuser", lambda: "lovelace")
    with pytest.raises(DitbenchError, match=words) as caught:
        submit(put(tmp_path, record), "Ada", to)
    assert record.run_id in str(caught.value) and "\n" not in str(caught.value) and files(to) == []


def test_one_bad_run_of_a_folder_holds_all_back(tmp_path, to):
    put(tmp_path / "digits", sound())
    put(tmp_path / "digits", diverged(1).model_copy(update={"status": "interrupted"}))
    with pytest.raises(BadValue, match=r"dit-nano-seed1-.* was interrupted"):
        submit(tmp_path / "digits", "Ada", to)
    assert files(to) == []


def test_a_track_that_was_not_published_has_no_leaderboard(tmp_path, to):
    track = GOOD.track.model_copy(update={"name": "mine"})
    record = named(sound().model_copy(update={"track": track, "track_hash": track.hash}))
    with pytest.raises(BadValue, match="of track 'mine', which was not published with ditbench"):
        submit(put(tmp_path, record), "Ada", to)


def test_a_machine_with_a_common_name_or_the_runs_own_is_no_secret(tmp_path, to, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "nano")
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    reason = "root of a negative number on nano"
    assert submit(put(tmp_path, diverged(0).model_copy(update={"reason": reason})), "nano root", to)


@pytest.mark.parametrize(
    "text",
    [
        "/home/me",
        "in '/mnt/x'",
        "(/tmp/a b)",
        "~/x",
        "see ~/x",
        "C:\\x",
        "d:/data",
        "\\\\server\\share",
        "file:///home/x",
        "a=/b",
    ],
)
def test_an_absolute_path_is_seen(text):
    assert list(betrayals({"a": [text]}, {})) == [("a.0", "an absolute path")]


@pytest.mark.parametrize(
    "text",
    ["dit:XL/2", "fid50k/digits-cnn", "https://x.org/a/b", "1 / N", "and/or", "images/s", "N/A", "2 // 3"],
)
def test_other_strokes_are_none(text):
    assert not list(betrayals({text: text}, {"cpu": "a name"}))


def test_a_grid_is_a_picture_and_no_more(tmp_path, to):
    for bad in (png(chunk(b"tEXt", b"Author\0me")), png(chunk(b"eXIf")), png(end=b"PK"), png()[:-4]):
        with pytest.raises(BadFile, match=r"dit-nano-seed0-.*samples\.png holds more than a picture"):
            submit(put(tmp_path / str(len(bad)) / str(bad[40]), sound(), bad), "Ada", to)
    assert files(to) == []
    run = put(tmp_path / "other", sound())
    (run / "samples.png").write_bytes(png(mark=b"another"))
    with pytest.raises(BadFile, match=r"files\.samples\.png is"):
        submit(run, "Ada", to)
    (run / "samples.png").unlink()
    (one,) = submit(run, "Ada", to)
    assert one.warnings == [f"{one.record.run_id} has no samples.png to show"] and len(files(to)) == 1


def test_what_a_reviewer_will_ask_is_told(tmp_path, to, ditbench):
    dirty = sound(environment=ENVIRONMENT.model_copy(update={"git_dirty": True}), deviations=["7 samples, not 8"])
    out = ditbench("records", "submit", str(put(tmp_path, dirty)), "--by", "Ada", "--to", str(to))
    assert "ran on code with changes that are not committed" in out and "will not be ranked: 7 samples, not 8" in out
    nowhere = sound("uvit:nano", environment=ENVIRONMENT.model_copy(update={"git_commit": None}))
    (one,) = submit(put(tmp_path, nowhere), "Ada", to)
    assert one.warnings == [f"{one.record.run_id} does not know the commit of ditbench's code"]


def test_bad_usage_is_one_line_and_code_2(tmp_path, to, ditbench):
    run = str(put(tmp_path, sound()))
    for arguments, words in (
        ((run, "--by", "Ada", "--to", str(tmp_path / "nowhere")), "There is no leaderboard"),
        ((run, "--by", "a/b", "--to", str(to)), "--by 'a/b' is no name"),
        ((run, "--by", "Ada", "--to", str(to), "--weights-url", "http://x"), "'http://x' is no address that begins"),
        ((str(to), "--by", "Ada", "--to", str(to)), "is neither a run's directory nor a folder of them"),
    ):
        errors = ditbench("records", "submit", *arguments, code=2)
        assert words in errors and errors.count("\n") == 1
    (to / "records").write_text("in the way")
    with pytest.raises(DitbenchError, match="can't be written"):
        submit(Path(run), "Ada", to)


TEXTS = [
    (path, path.read_text()) for path in (ROOT / "CONTRIBUTING.md", ROOT / "ditbench" / "leaderboard" / "rules.md")
]
LINES = [
    line
    for _, text in TEXTS
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = {line.rpartition("uv run ")[2]: False for line in LINES if "ditbench " in line}
NAMED = {
    found: True for _, text in TEXTS for found in re.findall(r"`(ditbench [^`]+)`", text)
}  # maybe without arguments


@pytest.mark.parametrize(("command", "cut"), sorted({**NAMED, **COMMANDS}.items()))
def test_every_command_of_the_rules_exists(command, cut):
    program, *arguments = shlex.split(command)
    assert program == "ditbench"
    group = typer.main.get_command(app)
    context = group.make_context("ditbench", list(arguments))
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, rest, parent=context, resilient_parsing=cut)


def test_every_file_they_name_exists():
    for path, text in TEXTS:
        for target in re.findall(r"\]\((?!https:|#)([^)#]+)", text):
            assert (path.parent / target).exists(), target
    assert len(COMMANDS) > 3 and len(NAMED) > 3
