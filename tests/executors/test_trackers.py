"""Trackers with the real libraries: what TensorBoard and wandb get of whole runs, and what a broken one may not do."""

import logging
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import wandb
from records import ENVIRONMENT, finished, raw_weights, unfinished
from test_campaign import Ears, run, run_process
from tracked import Events, WandbRun

from ditbench import cli
from ditbench.benchmark.setup import open_data
from ditbench.errors import DitbenchError
from ditbench.executors import trackers
from ditbench.executors.jobs import Job
from ditbench.executors.listeners import Silent, Together
from ditbench.executors.trackers import TensorBoard, TrackedRun, Tracker, Wandb
from ditbench.extras import install
from ditbench.records.record import read_record, write_record
from ditbench.registry import Registry
from ditbench.runtime.environment import describe
from ditbench.runtime.progress import Progress
from ditbench.tracks.plan import make_plan

pytestmark = pytest.mark.timeout(240)
PROTOCOLS = ["fid40/digits-cnn", "kid40/digits-cnn", "is40/digits-cnn", "knn40/raw-pixels"]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """wandb without a network, and with all of its folders in the test's own: what it writes there."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    wandb.teardown()  # a test without this fixture may have left its own settings in this process
    yield tmp_path / "store"
    wandb.teardown()  # or the next test would find this one's folders


HARDWARE = describe(torch.device("cpu")).hardware  # as the command will find it


@pytest.fixture
def job(toy, tmp_path):
    """A run of the toy that has not begun."""
    (config,) = make_plan(Registry.installed(), "tiny", ["toy"], device="cpu")
    data = open_data(config, Registry.installed())
    known = {"data_sha256": data.sha256, "reference_sha256": data.images.hash(), "hardware": HARDWARE}
    config = config.model_copy(update=known)
    (directory := tmp_path / "tiny" / config.run_id).mkdir(parents=True)
    return Job(config, directory, ENVIRONMENT)


RUN = ("run", "--plugins", "toy", "--track", "tiny", "--device", "cpu")


@pytest.fixture
def command(monkeypatch, tmp_path, capfd):
    """A function that runs the command in this process; its stdout and stderr, those of its processes included."""

    def command(*arguments, code=0):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["ditbench", *RUN, *arguments])
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's, which would keep warnings from stderr
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, errors = capfd.readouterr()
        assert (ended.value.code or 0) == code, out + errors
        return out, errors

    return command


def test_both_trackers_get_the_whole_run(toy, offline, tmp_path, capfd):
    (record,) = run(tmp_path, "toy", log=["tensorboard", "wandb"])
    assert capfd.readouterr() == ("", "")  # nothing of theirs breaks the display
    directory = tmp_path / "tiny" / record.run_id
    expected = {m.protocol: m.value for m in record.metrics}
    assert list(expected) == PROTOCOLS
    expected |= {f"cost/{name}": value for name, value in record.cost.model_dump().items() if value is not None}

    events = Events(directory)
    assert events.tags == {*expected, "train/loss", "train/images_per_second", "samples", "status",
                           "_hparams_/session_start_info"}  # fmt: skip
    for name, value in expected.items():
        assert [(s, float(v)) for s, v in events.points(name)] == [(40, pytest.approx(value, rel=1e-6))]
    assert events.steps("train/loss")[-1] == 40 and events.points("train/images_per_second")[-1][1] > 0
    ((_, image),) = events.points("samples")
    assert image[2] == (directory / "samples.png").read_bytes() and int(image[0]) > 300 and int(image[1]) > 600
    assert events.status == ["finished"]
    assert events.config["track.name"] == "tiny" and events.config["seed"] == 0
    assert events.config["architecture.settings.width"] == 16 and events.config["budget"] == "40-steps"
    assert events.config["environment.torch"] == record.environment.torch

    (path,) = offline.glob("wandb/offline-run-*/*.wandb")
    told = WandbRun(path)
    assert (told.run.project, told.run.run_group, told.run.display_name) == ("ditbench", "tiny", record.run_id)
    assert told.run.run_id == (directory / "wandb.txt").read_text().strip()
    assert told.config["track"]["name"] == "tiny" and told.config["environment"]["torch"] == record.environment.torch
    assert "created" not in told.config
    last = told.history[-1]
    assert {name: last[name] for name in expected} == expected
    assert [point["train/step"] for point in told.history if "train/loss" in point][-1] == 40
    (image,) = path.parent.glob("files/media/images/samples_*.png")
    assert image.read_bytes() == (directory / "samples.png").read_bytes()
    assert told.summary["status"] == "finished" and told.exit_code == 0


def test_a_failed_run_says_why(toy, tmp_path):
    records = run(tmp_path, "toy+fault=raise", "toy+fault=nan", "toy+fault=kill", log=["tensorboard"])
    for record, status in zip(records, ("failed", "diverged", "interrupted"), strict=True):
        events = Events(tmp_path / "tiny" / record.run_id)
        assert events.status == [f"{status}: {record.reason}"]
        assert "fid40/digits-cnn" not in events.tags and "samples" not in events.tags


def test_a_killed_run_goes_on_where_it_was_and_one_that_starts_over_has_no_past(toy, offline, tmp_path):
    def kill(config, progress):
        if progress.step >= 15:
            os.kill(run_process().pid, signal.SIGKILL)

    more = {"log": ["tensorboard", "wandb"], "checkpoint_seconds": 0.3, "data": "synthetic"}
    (dead,) = run(tmp_path, "toy+fault=slow", listener=Ears(kill), **more)
    directory = tmp_path / "tiny" / dead.run_id
    killed_at = Events(directory).steps("train/loss")[-1]
    (record,) = run(tmp_path, "toy+fault=slow", **more)
    assert (record.status, record.training.resumed) == ("finished", 1)
    events = Events(directory)
    steps = events.steps("train/loss")
    assert len(events.files) == 2 and steps == sorted(set(steps)) and steps[0] < killed_at < steps[-1] == 40
    assert events.status[-1] == "finished"
    first, second = (WandbRun(path) for path in sorted(offline.glob("wandb/offline-run-*/*.wandb")))
    assert first.run.run_id == second.run.run_id
    assert first.summary["status"] == "interrupted" and first.exit_code == 1
    assert first.summary["reason"] == "killed by SIGKILL" and second.summary["reason"] == ""

    run(tmp_path, "toy+fault=slow", force=True, **more)
    assert len(Events(directory).files) == 1
    third = WandbRun(sorted(offline.glob("wandb/offline-run-*/*.wandb"))[-1])
    assert third.run.run_id != second.run.run_id and third.run.display_name == record.run_id


def test_steps_that_are_taken_again_count_once(job):
    for steps, loss in ((range(1, 6), 1.0), (range(3, 8), 2.0)):
        tracked = TensorBoard(job)
        for step in steps:
            tracked.log({"train/loss": loss}, step)
        tracked.close()
    points = [(step, float(value)) for step, value in Events(job.directory).points("train/loss")]
    assert points == [(1, 1.0), (2, 1.0)] + [(step, 2.0) for step in range(3, 8)]


def test_ctrl_c_closes_the_trackers(toy, tmp_path):
    def press(config, progress):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "toy+fault=slow", "toy", listener=Ears(press), log=["tensorboard"])
    (directory,) = (tmp_path / "tiny").glob("toy-*/tensorboard")
    assert Events(directory.parent).status == ["interrupted: stopped on request"]


class Fake(TrackedRun):
    """Notes what it is told; breaks where the test wants it to."""

    name, needs = "fake", ()
    told, breaks_at = [], ()

    def _note(self, what):
        self.told.append(what)
        if what in self.breaks_at:
            raise OSError("the disk\nis full")

    def __init__(self, job):
        self._note("take up")

    def log(self, values, step):
        self._note("log")

    def end(self, record, grid):
        self._note("end")

    def close(self):
        self._note("close")


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "fake", Fake)
    monkeypatch.setattr(Fake, "told", [])
    return Fake


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ((), ["take up", "log", "end"] * 2),
        (("take up",), ["take up"]),
        (("log", "close"), ["take up", "log", "close"]),
        (("end",), ["take up", "log", "end", "close"]),
    ],
)
def test_a_tracker_that_breaks_is_told_once_and_left_alone(job, fake, monkeypatch, caplog, places, told):
    monkeypatch.setattr(Fake, "breaks_at", places)
    (tracker,) = trackers.start(["fake", "fake"])
    tracker.planned([job], [])
    record = unfinished().model_copy(update={"run_id": job.config.run_id})
    for _ in range(2):
        tracker.progress(job.config, Progress("train", 0.5, 20, 100.0, 0.5))
        tracker.progress(job.config, Progress("sample", 0.5, 20, 100.0))
        tracker.ended(record)
    tracker.close()
    assert fake.told == told
    said = [record.getMessage() for record in caplog.records if record.name == "ditbench.executors.trackers"]
    line = "the tracker fake broke, and the runs go on without it: OSError: the disk is full"
    assert said == ([line] if places else [])


BOTH = ("--quiet", "--log", "tensorboard", "--log", "wandb", "--out")


def test_a_person_is_told_in_one_line_and_no_run_is_lost(job, offline, tmp_path, command):
    (job.directory / "tensorboard").write_text("no folder")
    what_is_told(job, offline, *command(*BOTH, str(tmp_path)))


def what_is_told(job, offline, out, errors):
    assert errors.startswith("the tracker tensorboard broke, and the runs go on without it: FileExistsError:")
    assert errors.count("\n") == 1 and "toy:nano" in out and "wandb" not in out
    assert read_record(job.directory / "record.json").status == "finished"
    (path,) = offline.glob("wandb/offline-run-*/*.wandb")
    assert WandbRun(path).summary["status"] == "finished"


def test_a_run_is_closed_when_the_command_breaks(job, fake):
    tracker = Tracker(fake)
    tracker.planned([job], [])
    tracker.progress(job.config, Progress("train", 0.5, 20, 100.0, 0.5))
    tracker.progress(job.config, Progress("sample", 0.5, 20, 100.0))
    tracker.close()
    tracker.close()
    assert fake.told == ["take up", "log", "close"]


def test_a_run_of_another_command_is_left_alone(job, fake):
    """This command calls it interrupted, and that is not the record in the directory."""
    record = unfinished().model_copy(update={"run_id": job.config.run_id})
    tracker = Tracker(fake)
    tracker.planned([job], [])
    tracker.ended(record)
    write_record(finished().model_copy(update={"run_id": job.config.run_id}), job.directory / "record.json")
    tracker.ended(record)
    assert fake.told == []
    tracker.ended(write_record(record, job.directory / "record.json"))
    assert fake.told == ["take up", "end"]


def test_nothing_of_the_machine_but_what_the_record_says(job, offline, tmp_path, monkeypatch):
    for name in ("socket.gethostname", "platform.node", "getpass.getuser"):
        monkeypatch.setattr(name, lambda: "a-secret-name")
    for kind in (TensorBoard, Wandb):
        tracked = kind(job)
        tracked.log({"train/loss": 1.0}, 1)
        tracked.end(unfinished(), Path())
    (events,), (told,) = (list(tmp_path.rglob(pattern)) for pattern in ("*tfevents*", "*.wandb"))
    for path in (events, told):
        assert "a-secret-name" not in path.name
        for secret in (b"a-secret-name", str(tmp_path).encode(), str(Path.home()).encode() + b"/"):
            assert secret not in path.read_bytes(), secret
    assert not list(told.parent.glob("files/*"))


def test_the_id_at_wandb_is_checked(job, offline, caplog):
    (job.directory / "wandb.txt").write_text("../../elsewhere\n")
    tracker = Tracker(Wandb)
    tracker.planned([job], [])
    tracker.progress(job.config, Progress("train", 0.5, 20, 100.0, 0.5))
    assert "holds no run's id at wandb" in caplog.text and not list(offline.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--log", "wandb", "--log", "tensorbord"],
            "No tracker named 'tensorbord'. Did you mean 'tensorboard'? Known: ",
        ),
        (["--log", "tensorboard"], f"--log tensorboard needs the extra: {install('ditbench[tensorboard]')}\n"),
        (["--log", "wandb"], "--log wandb: No API key configured. Use 'wandb login'"),
    ],
)
def test_what_can_not_be_used_is_bad_input(toy, tmp_path, monkeypatch, command, arguments, message):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    out, errors = command(*arguments, code=2)
    assert errors.startswith(f"ditbench: {message}") and errors.count("\n") == 1 and out == ""
    assert not (tmp_path / "runs").exists()


def test_a_mere_folder_named_wandb_is_not_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
    with pytest.raises(DitbenchError, match=r"^`log` wandb needs the extra: (uv )?pip install 'ditbench\[wandb\]'$"):
        trackers.start(["wandb"])


def test_a_library_that_is_there_but_broken_is_named(install, fake, monkeypatch):
    install("broken", "broken", "1 / 0")
    monkeypatch.setattr(fake, "needs", ("broken:thing",))
    with pytest.raises(DitbenchError, match=r"`log` fake: its library can't be imported \(ZeroDivisionError"):
        trackers.start(["fake"])


def test_together_tells_each_in_turn():
    heard = []

    def ear(name):
        def hear(what):
            return lambda self, *about: heard.append((name, what, about))

        return type(name, (Silent,), {what: hear(what) for what in words})()

    words = {
        "left_out": (1,),
        "fetching": (1,),
        "preparing": (),
        "checking": (1,),
        "passing_over": (1,),
        "repeating": (1,),
        "planned": (1, 2),
        "searched": (1,),
        "started": (1,),
        "progress": (1, 2),
        "ended": (1,),
        "close": (),
    }
    assert words.keys() == {name for name in vars(Silent) if not name.startswith("_")}
    together = Together(ear("one"), ear("two"))
    for what, about in words.items():
        getattr(together, what)(*about)
    assert heard == [(name, what, about) for what, about in words.items() for name in ("one", "two")]


def test_the_raw_weights_metrics_have_names_of_their_own():
    record = finished(fid=1.0)
    values = trackers.results(record.model_copy(update={"raw": raw_weights(7.0)}))
    assert (values["fid1k/digits-cnn"], values["raw/fid1k/digits-cnn"]) == (1.0, 7.0)


def test_nothing_is_imported_that_was_not_asked_for():
    code = "import sys, ditbench.campaign; assert not {'torch', 'tensorboard', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
