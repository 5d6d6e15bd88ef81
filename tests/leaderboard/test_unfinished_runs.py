"""Tables, pages and lists of a folder of runs, whatever has become of the runs in it: each has what it left."""

import os
import signal

import pytest

from ditbench import campaign
from ditbench.leaderboard.site import serve

pytestmark = [pytest.mark.usefixtures("toy"), pytest.mark.timeout(240)]
READERS = {  # command -> what it says of a run that has a record
    ("leaderboard", "report", "{runs}"): "toy:nano",
    ("leaderboard", "build", "{runs}", "--out", "{out}"): "records -> ",
    ("leaderboard", "serve", "{runs}", "--no-browser"): "",
    ("status", "{runs}"): "toy-nano-seed0-",
    ("plan", "--plugins", "toy", "--track", "tiny", "--out", "{runs}"): "toy:nano",
}


class Mischief(campaign.Silent):
    """Calls `what` once, when a run is past its first checkpoints."""

    def __init__(self, what):
        self.what = what

    def progress(self, config, progress):
        if progress.stage == "train" and progress.step >= 5 and self.what:
            what, self.what = self.what, None
            what()


@pytest.fixture
def run(tmp_path):
    def run(architecture, what=None):
        how = {"checkpoint_seconds": 1e-9, "listener": Mischief(what), "executor": "inline", "device": "cpu"}
        return campaign.run("tiny", [architecture], out=tmp_path / "runs", **how)

    return run


@pytest.fixture
def read(tmp_path, ditbench, monkeypatch):
    """A function that lets every reader at the folder, and gives what each said. None may fail."""
    monkeypatch.setattr(serve, "serve", lambda folder, **how: None)
    places = {"runs": tmp_path / "runs", "out": tmp_path / "tables"}

    def read():
        return {arguments: ditbench(*(part.format(**places) for part in arguments)) for arguments in READERS}

    return read


def left(tmp_path, *names):
    """The one run that has left all of these."""
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("tiny/*/.claims"))
    assert all(any(folder.glob(name)) for name in names)
    return folder


def check(said):
    for arguments, words in READERS.items():
        assert words in said[arguments], arguments


def test_a_failed_run_is_a_row(tmp_path, run, read, ditbench):
    (record,) = run("toy+fault=raise")
    left(tmp_path, "checkpoints/*/state.json", "record.json")
    assert record.status == "failed"
    check(read())
    assert "1 record checked: no fault" in ditbench("records", "validate", str(tmp_path / "runs"))


def test_a_stopped_run_is_a_row(tmp_path, run, read, ditbench):
    with pytest.raises(KeyboardInterrupt):
        run("toy+fault=slow", lambda: os.kill(os.getpid(), signal.SIGINT))
    left(tmp_path, "checkpoints/*/state.json", "record.json")
    check(read())
    assert "should be finished, failed or diverged" in ditbench("records", "validate", str(tmp_path / "runs"), code=1)


def test_a_damaged_record_is_left_out_by_name(tmp_path, run, read, ditbench, monkeypatch):
    run("toy")
    (good,) = (path.parent for path in tmp_path.glob("runs/tiny/*/record.json"))
    damaged = good.with_name("toy-nano-seed7-0123abcd")
    damaged.mkdir()
    (damaged / "record.json").write_text("{")
    told = []
    for module in ("status", "plan", "leaderboard"):
        monkeypatch.setattr(f"ditbench.cli.{module}.warn", told.append)
    said = read()
    check(said)
    assert len(told) == len(READERS) and all(f"{damaged.name}/record.json' can't be read" in line for line in told)
    assert all(f"`ditbench runs remove {damaged.name} --runs {damaged.parent}` removes" in line for line in told)
    assert not any("seed7" in text for text in said.values())
    assert damaged.name in ditbench("records", "validate", str(tmp_path / "runs"), code=1)
    build = ("leaderboard", "build", str(tmp_path / "runs"), "--out", str(tmp_path / "tables"))
    assert damaged.name in ditbench(*build, "--check", code=2)
    ditbench("runs", "remove", damaged.name, "--runs", str(damaged.parent), "--yes")
    assert good.is_dir() and not damaged.exists()


def test_a_running_run_and_one_that_was_killed_with_its_command_have_no_row_yet(tmp_path, run, read):
    said = []
    run("toy", lambda: said.append(read()))
    (during,) = said
    for arguments, words in READERS.items():
        assert words in during[arguments] or "leaderboard" in arguments, arguments
    folder = left(tmp_path, "record.json")
    check(read())
    (folder / "record.json").unlink()
    (folder / "checkpoints" / "000021").mkdir(parents=True)
    (folder / "checkpoints" / "000021" / "state.json").write_text("{}")
    after = read()
    assert "waiting" in after["status", "{runs}"]
    assert "0 records" in after["leaderboard", "build", "{runs}", "--out", "{out}"]
