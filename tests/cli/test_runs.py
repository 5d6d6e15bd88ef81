"""`ditbench runs`: what lies in a folder of runs, and that nothing else is ever removed."""

import json
from pathlib import Path

import pytest
from records import finished, unfinished

from ditbench.records.record import write_record
from ditbench.storage.claims import sole_writer

ONE, TWO, LOST = (f"{name}-nano-seed0-0123456{number}" for number, name in enumerate(("dit", "uvit", "mdt")))


@pytest.fixture
def folder(tmp_path):
    """Three runs of a track, a link to another, and what is no run."""
    track, elsewhere = tmp_path / "runs" / "digits", tmp_path / "elsewhere" / ONE
    for run_id, record in ((ONE, finished()), (TWO, unfinished())):
        (track / run_id).mkdir(parents=True)
        write_record(record.model_copy(update={"run_id": run_id}), track / run_id / "record.json")
        (track / run_id / "ema.safetensors").write_bytes(bytes(2**20))
    (track / LOST).mkdir()
    (track / "notes").mkdir()
    elsewhere.mkdir(parents=True)
    (elsewhere / "precious").write_text("")
    (track / ONE / "link").symlink_to(elsewhere)
    (track / "sit-nano-seed0-01234567").symlink_to(elsewhere)
    return tmp_path / "runs"


def test_list_tells_status_size_and_age(ditbench, folder):
    found = json.loads(ditbench("runs", "list", "--runs", str(folder), "--json"))
    assert {(row["run"], row["track"], row["status"], row["MiB"]) for row in found} == {
        (ONE, "digits", "finished", 1.0), (TWO, "digits", "diverged", 1.0), (LOST, "digits", "no record", 0.0),
    }  # fmt: skip
    out = ditbench("runs", "list", "--runs", str(folder / "digits"), "--status", "finished")
    assert ONE in out and TWO not in out and "0 minutes" in out and "1 run, 1.0 MiB" in out


def test_remove_takes_what_is_named_and_follows_no_link(ditbench, folder):
    out = ditbench("runs", "remove", "*", "--status", "finished", "--runs", str(folder), "--yes")
    assert "Removed 1 run" in out and not (folder / "digits" / ONE).exists()
    assert (folder.parent / "elsewhere" / ONE / "precious").exists()
    assert "diverged" in (folder / "digits" / "leaderboard.md").read_text()  # the other's row, in tables made anew
    gone = json.loads(ditbench("runs", "remove", "*", "--runs", str(folder), "--yes", "--json"))
    assert all(Path(run).parent == folder / "digits" for run in gone["removed"]) and gone["bytes"] > 0
    left = {path.name for path in (folder / "digits").iterdir() if path.is_dir()}
    assert left == {"notes", "sit-nano-seed0-01234567"}
    assert (folder.parent / "elsewhere" / ONE / "precious").exists()


def test_remove_asks_and_takes_nothing_from_who_says_no(ditbench, folder, monkeypatch):
    monkeypatch.setattr("typer.confirm", lambda question, err: "Remove 3 runs" not in question)
    assert "Nothing was removed." in ditbench("runs", "remove", "*", "--runs", str(folder))
    assert (folder / "digits" / ONE).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name the runs to remove"),
        (("../elsewhere/*", "--yes"), "No run named '../elsewhere/*'"),
        (("dti-*", "--yes"), "No run named 'dti-*'"),
        (("*", "--runs", "nowhere"), "The folder 'nowhere' does not exist"),
    ],
)
def test_what_names_no_run_is_refused(ditbench, folder, arguments, words):
    where = () if "--runs" in arguments else ("--runs", str(folder))
    assert words in ditbench("runs", "remove", *arguments, *where, code=2)


def test_a_run_at_work_stays_and_so_do_the_others(ditbench, folder):
    with sole_writer(folder / "digits" / TWO):
        assert "is being written" in ditbench("runs", "remove", "*", "--runs", str(folder), "--yes", code=2)
    assert (folder / "digits" / ONE).exists()
