"""Records come back equal, and damaged ones are refused with file and field."""

import json

import pytest
from pydantic import ValidationError
from records import finished, unfinished

from ditbench.errors import BadFile
from ditbench.records.record import Record, read_record, read_records, read_runs, write_record


@pytest.mark.parametrize("record", [finished(), unfinished()], ids=["finished", "diverged"])
def test_a_record_comes_back_equal(tmp_path, record):
    written = write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == written
    assert written.sha256 and written.model_copy(update={"sha256": None}) == record


def edited(tmp_path, change):
    content = json.loads(finished().model_dump_json())
    change(content)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c.pop("seed"), "seed"),
        (lambda c: c.update(surprise=1), "surprise"),
        (lambda c: c.update(schema_version=999), "a newer ditbench wrote it: its schema_version is 999, and this one"),
        (lambda c: c.update(schema_version=0), "schema_version"),
        (lambda c: c.update(status="fine"), "status"),
        (lambda c: c["track"]["recipe"].update(learning_rate=1.0), "track_hash"),
        (lambda c: c.update(metrics=[]), "a finished run needs its track's metrics"),
        (lambda c: c["metrics"].pop(0), "a finished run needs its track's metrics"),
        (lambda c: c.update(memory=None), "a finished run needs environment"),
        (lambda c: c["training"].update(step_seconds=[]), "training.step_seconds"),
        (lambda c: c["metrics"][0].update(protocol="<b>|/x"), "metrics.0.protocol"),
        (lambda c: c["environment"].update(git_commit="](x)"), "environment.git_commit"),
        (lambda c: c.update(status="failed"), "needs its reason"),
        (lambda c: c["metrics"][0].update(value=float("nan")), "metrics.0.value"),
        (lambda c: c["training"].update(steps=-1), "training.steps"),
        (lambda c: c.update(run_id="../../etc/passwd"), "run_id"),
    ],
)
def test_a_wrong_record_is_named_with_its_field(tmp_path, change, fault):
    path = edited(tmp_path, change)
    with pytest.raises(BadFile, match=fault) as caught:
        read_record(path)
    assert "mine.json" in str(caught.value) and "\n" not in str(caught.value)


def test_torn_and_missing_files_are_named(tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(BadFile, match="can't be read"):
        read_record(path)
    path.write_text(finished().model_dump_json()[:-100])
    with pytest.raises(BadFile, match=r"record\.json"):
        read_record(path)
    with pytest.raises(BadFile, match="does not exist"):
        read_records(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    [
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"schema_version": 1, "track": ' + b'{"a":' * 100_000 + b"}" * 100_001,
        b'{"schema_version": 1, "track": ' + b'{"a":' * 900 + b"1" + b"}" * 901,
        b'{"schema_version": 2, "training": 7}',
        b"\xff\xfe",
        b"7",
    ],
    ids=["digits", "lists", "objects", "fewer objects", "older", "no text", "number"],
)  # fmt: skip
def test_no_content_is_worse_than_a_bad_file(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"x\.json") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_what_runs_and_others_leave_beside_records_is_no_record(tmp_path):
    run = tmp_path / "digits" / "run"
    run.mkdir(parents=True)
    written = write_record(finished(), run / "record.json")
    others = (
        "milestones.json",
        "samples.partial.json",
        "x.profile.json",
        "x.evaluation.json",
        "x.0a1b2c.re-trained.json",
    )
    for name in others:
        (run / name).write_text("[]")
    assert read_records(tmp_path) == [written]


RUN_ID = "dit-nano-seed0-0123abcd"
NO_RECORDS = [  # what a run's directory, a plugin, a tracker, an editor, a system may leave
    f"{RUN_ID}/checkpoints/000021/state.json", f"{RUN_ID}/checkpoints/.000022.tmp/state.json",
    f"{RUN_ID}/checkpoints/000021/record.json", f"{RUN_ID}/{RUN_ID}.json", f"{RUN_ID}/record-2.json",
    f"{RUN_ID}/wandb/latest/files/wandb-summary.json", f"{RUN_ID}/record.json.bak", f"{RUN_ID}/._record.json",
    "another.json", "leaderboard.json", "site/ditbench-site.json", f"._{RUN_ID}.json", f".trash/{RUN_ID}/record.json",
    ".ipynb_checkpoints/record.json", "dit-nano-seed0.json", f"{RUN_ID}-checkpoint.json",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_RECORDS)
def test_a_record_is_what_is_called_one(tmp_path, name):
    path = tmp_path / "digits" / name
    path.parent.mkdir(parents=True)
    path.write_text("[]")
    assert read_records(tmp_path) == []
    if path.parents[1].name == "digits" or path.parent.name == "digits":
        assert read_runs(tmp_path / "digits") == []


def test_records_are_found_as_they_are_committed_and_as_runs_leave_them(tmp_path):
    names = (f"digits/{RUN_ID}.json", f"runs/digits/{RUN_ID}/record.json", "runs/digits/renamed/record.json")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        write_record(finished(), tmp_path / name)
    assert len(read_records(tmp_path)) == 3
    (tmp_path / names[1]).write_text("[]")
    with pytest.raises(BadFile, match=r"record\.json"):
        read_records(tmp_path)


def test_a_finished_record_can_not_be_made_without_numbers():
    with pytest.raises(ValidationError, match="a finished run needs"):
        Record.model_validate({**finished().model_dump(), "metrics": []})


def test_a_record_does_not_change():
    with pytest.raises(ValidationError):
        finished().seed = 3
