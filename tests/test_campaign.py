"""Whole runs through the Python API and real processes: rows for every ending, skip, resume, force, one writer."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from records import ENVIRONMENT, finished
from safetensors.numpy import load_file

import ditbench
from ditbench import campaign
from ditbench.errors import BadFile, BadValue, DitbenchError, RunBusy, UnknownName
from ditbench.executors import torchrun
from ditbench.executors.jobs import Job, _ending, carry_out, unfinished
from ditbench.records.record import identity, read_record, write_record
from ditbench.registry import Registry
from ditbench.runtime.progress import Watch
from ditbench.storage import claims
from ditbench.tracks.plan import make_plan
from ditbench.tracks.threads import ONE_THREAD

pytestmark = [pytest.mark.usefixtures("toy"), pytest.mark.timeout(240)]


class Ears(campaign.Silent):
    """Remembers what it hears; `at` is called with every training progress."""

    def __init__(self, at=lambda config, progress: None):
        self.at, self.begun, self.heard, self.passed_over = at, [], [], []

    def started(self, config):
        self.begun.append(config.label)

    def passing_over(self, told):
        self.passed_over.append(told)

    def progress(self, config, progress):
        self.heard.append(progress)
        if progress.stage == "train":
            self.at(config, progress)


ELSEWHERE = [  # on what a run of which seed was finished before
    (ENVIRONMENT, 0),
    (ENVIRONMENT, 1),
    (ENVIRONMENT.model_copy(update={"cpu": "Another", "threads": 8}), 2),
]


def run(out, *architectures, track="tiny", **more):
    """One run after the other, unless a test asks for another order."""
    if more.get("executor", "process") == "process" and not torchrun.launched():
        more.setdefault("parallel", 1)
    return campaign.run(track, architectures, out=out, device="cpu", **more)


def directory(out, record):
    return out / "tiny" / record.run_id


def run_process():
    """The process that carries out the current run: of those forked from the server, the newest."""
    found = [p for p in psutil.Process().children(recursive=True) if p.status() != "zombie" and not p.children()]
    return max(found, key=lambda p: p.create_time())


def test_runs_that_other_threads_or_another_machine_finished_are_told_with_the_way_to_take_them_up():
    (config,) = make_plan(Registry.installed(), "tiny", ["toy"], device="cpu")
    there = [config.model_copy(update={"hardware": env.hardware, "seed": seed}) for env, seed in ELSEWHERE]
    done = [
        finished().model_copy(update={**identity(one), "environment": env})
        for one, (env, _) in zip(there, ELSEWHERE, strict=True)
    ]
    now = ENVIRONMENT.model_copy(update={"threads": 8, "parallel": 2})
    plan = [config.model_copy(update={"hardware": now.hardware, "seed": seed}) for seed in range(4)]
    jobs = [Job(one, Path("nowhere"), now, macs=ONE_THREAD) for one in plan]
    assert campaign._finished_elsewhere(jobs, done) == [
        "2 of these runs are finished already, but with 2 threads each. Here they have 8 threads and are runs of their "
        "own; OMP_NUM_THREADS=4 takes up the finished ones.",
        "1 of these runs is finished already, but on Another, 8 threads. This is A processor, 8 threads, where they "
        "are runs of their own.",
    ]
    here = finished().model_copy(update={**identity(plan[0]), "environment": now})
    assert campaign._finished_elsewhere(jobs[:1], [here, *done]) == []
    now = ENVIRONMENT.model_copy(update={"threads": 1})
    config = config.model_copy(update={"hardware": now.hardware})
    assert campaign._finished_elsewhere([Job(config, Path("nowhere"), now, macs=ONE_THREAD - 1)], done) == [
        "1 of these runs is finished already, but with 2 threads each. Runs as small as these have 1 thread now, and "
        "are runs of their own."
    ]


def test_a_finished_run_leaves_everything_and_is_skipped_the_next_time(tmp_path):
    ears = Ears()
    (record,) = run(tmp_path, "toy", keep_samples=True, listener=ears)
    folder = directory(tmp_path, record)
    assert record.status == "finished" and record == read_record(folder / "record.json")
    assert {path.name for path in folder.iterdir()} == {
        ".claims", "curve.jsonl", "ema.safetensors", "log.txt", "raw.safetensors", "record.json",
        "samples.npz", "samples.png",
    }  # fmt: skip
    assert [p.stage for p in ears.heard][-1] == "measure" and {p.stage for p in ears.heard} == {
        "train",
        "sample",
        "measure",
    }
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["step"] == 40 and all(np.isfinite(point["loss"]) for point in curve)
    with np.load(folder / "samples.npz") as samples:
        assert samples["arr_0"].shape == (40, 8, 8, 1) and np.bincount(samples["arr_1"]).tolist() == [4] * 10
    assert record.training.steps == len(record.training.step_seconds) == 40
    assert record.training.images == 640 and record.training.batch_size == 16
    assert record.sampling.batch_images == [16, 16, 8] and record.sampling.evaluations == 2
    assert [m.protocol for m in record.metrics] == [
        "fid40/digits-cnn", "kid40/digits-cnn", "is40/digits-cnn", "knn40/raw-pixels",
    ]  # fmt: skip
    assert record.memory.training.resident >= record.memory.resident_at_start > 0
    assert (record.architecture.distribution, record.architecture.distribution_version) == ("ditbench-toy", "0.1")
    assert record.architecture.libraries == () and len(record.fingerprint.numbers) == 11
    assert {path.name for path in (tmp_path / "tiny").glob("leaderboard.*")} == {"leaderboard.md", "leaderboard.csv"}

    again = Ears()
    assert run(tmp_path, "toy", listener=again) == [record] and again.begun == []
    (folder / "samples.npz").rename(tmp_path / "before.npz")
    assert run(tmp_path, "toy", keep_samples=True, listener=again) == [record]  # samples anew, but no training
    assert {p.stage for p in again.heard} == {"sample"}
    with np.load(folder / "samples.npz") as anew, np.load(tmp_path / "before.npz") as before:
        assert np.array_equal(anew["arr_0"], before["arr_0"])
    (forced,) = run(tmp_path, "toy", force=True)
    assert forced.sampling.images_sha256 == record.sampling.images_sha256  # determinism, in another process
    assert not (folder / "samples.npz").exists()


def test_raw_weights_are_measured_on_request_even_after_the_run(tmp_path):
    (plain,) = run(tmp_path, "toy")
    assert plain.raw is None
    ears = Ears()
    (record,) = run(tmp_path, "toy", raw_weights=True, listener=ears)
    assert {p.stage for p in ears.heard} == {"sample", "measure"}  # no training
    assert record == plain.model_copy(update={"raw": record.raw, "sha256": record.sha256})
    assert record == read_record(directory(tmp_path, record) / "record.json")
    assert record.raw.sampling.weights == "raw" and record.sampling.weights == "ema"
    assert record.raw.sampling.images_sha256 != record.sampling.images_sha256
    assert [m.protocol for m in record.raw.metrics] == [m.protocol for m in record.metrics]
    assert run(tmp_path, "toy", raw_weights=True) == run(tmp_path, "toy") == [record]
    (at_once,) = run(tmp_path / "again", "toy", raw_weights=True)
    assert at_once.raw.metrics == record.raw.metrics and at_once.metrics == record.metrics
    assert "raw weights' fid40/digits-cnn" in (tmp_path / "tiny" / "leaderboard.md").read_text()


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_a_finished_run_stays_finished_when_more_is_asked_of_it_in_vain(tmp_path, executor):
    """The runs after it have their turn; then it is told."""
    (plain,) = run(tmp_path, "toy")
    (directory(tmp_path, plain) / "raw.safetensors").unlink()
    ears = Ears()
    with pytest.raises(BadFile, match=r"has no raw\.safetensors to sample; train it again with `force`"):
        run(tmp_path, "toy", "toy+depth=2", raw_weights=True, executor=executor, listener=ears)
    assert read_record(directory(tmp_path, plain) / "record.json") == plain
    assert ears.begun == ["toy:nano", "toy:nano+depth=2"]
    assert sorted(path.parent.name for path in tmp_path.glob("tiny/*/record.json")) == sorted(
        path.name for path in (tmp_path / "tiny").iterdir() if path.is_dir()
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_finished_run_stays_finished_when_it_is_stopped_in_what_it_was_asked_later(tmp_path, how):
    (plain,) = run(tmp_path, "toy")

    class Stop(Ears):
        def progress(self, config, progress):
            if progress.stage == "sample" and not self.heard:
                self.heard.append(progress)
                os.kill(run_process().pid if how == signal.SIGKILL else os.getpid(), how)

    with pytest.raises(KeyboardInterrupt if how == signal.SIGINT else DitbenchError) as stopped:
        run(tmp_path, "toy", keep_samples=True, raw_weights=True, listener=Stop())
    assert how == signal.SIGINT or "stays as it finished; what more was asked of it failed: killed by SIGKILL" in str(
        stopped.value
    )
    assert read_record(directory(tmp_path, plain) / "record.json") == plain


def test_missing_weights_of_an_extractor_are_said_before_anything_is_done(tmp_path, install):
    track = (Path(__file__).parent / "tiny.toml").read_text().replace('name = "tiny"', 'name = "seen"')
    (tmp_path / "seen.toml").write_text(track.replace('"digits-cnn"', '"inception-v3-compat"'))
    source = "import pathlib, ditbench\n@ditbench.hookimpl\ndef ditbench_tracks():\n"
    install("ditbench-seen", "seen_track", source + f"    return [pathlib.Path({str(tmp_path / 'seen.toml')!r})]\n")
    for more in ({"offline": True}, {}):  # there is no network here, and the line says what was tried
        with pytest.raises(BadFile, match="Weights of 'inception-v3-compat' are missing"):
            campaign.run("seen", ["toy"], out=tmp_path / "runs", device="cpu", **more)
    assert not list((tmp_path / "runs").rglob("record.json"))


@pytest.mark.parametrize("spelled", ["{}", "."])
def test_a_reason_names_no_place_of_the_machine(tmp_path, monkeypatch, spelled):
    monkeypatch.chdir(tmp_path)
    (config,) = make_plan(Registry.installed(), "tiny", ["toy"], device="cpu")
    config = config.model_copy(update={"data": spelled.format(tmp_path)})
    job = Job(config, tmp_path / "run", None)
    job.directory.mkdir()
    status, reason = _ending(BadFile(f"The shard '{tmp_path}/shard-0.st' is damaged. Remove it."), job)
    assert (status, reason) == ("failed", f"The shard '{tmp_path.name}/shard-0.st' is damaged. Remove it.")


def test_a_reason_of_any_length_and_signs_is_cut_and_can_be_written(tmp_path):
    (config,) = make_plan(Registry.installed(), "tiny", ["toy"], device="cpu")
    job = Job(config.model_copy(update={"data_sha256": "d" * 64}), tmp_path / "run", None)
    job.directory.mkdir()
    try:
        raise RuntimeError(f"first\ud800\x1b[31m\n::error::{'word ' * 600_000}{tmp_path}/run/last")
    except RuntimeError as error:  # its traceback goes into the log, too
        record = write_record(unfinished(job, *_ending(error, job)), job.directory / "record.json")
    assert read_record(job.directory / "record.json") == record
    assert len(record.reason) <= 1_000 and record.reason.isprintable() and record.reason.isascii()
    assert record.reason.startswith(r"RuntimeError: first\ud800\x1b[31m : :error::word")
    assert record.reason.endswith("word run/last") and str(tmp_path) not in record.reason
    assert "last" in (job.directory / "log.txt").read_text(encoding="utf-8")


def test_every_bad_ending_is_a_row_and_the_others_go_on(tmp_path):
    faults = ("raise", "nan", "kill", "spare", "none")
    *records, spare, good = run(tmp_path, *(f"toy+fault={fault}" for fault in faults))
    assert spare.status == "failed" and "it computes less while it is counted" in spare.reason
    records = [*records, good]
    assert [record.status for record in records] == ["failed", "diverged", "interrupted", "finished"]
    assert [record.reason for record in records] == [
        "RuntimeError: the toy broke, as ordered",
        "the loss became nan at step 3",
        "killed by SIGKILL",
        None,
    ]
    log = (directory(tmp_path, records[0]) / "log.txt").read_text()
    assert "Traceback" in log and "misbehave" in log
    page = (tmp_path / "tiny" / "leaderboard.md").read_text()
    for word in ("failed: RuntimeError", "diverged: the loss", "interrupted: killed by SIGKILL"):
        assert word in page

    again = Ears()
    run(tmp_path, "toy+fault=nan", "toy+fault=raise", listener=again)
    assert again.begun == ["toy:nano+fault=raise"]  # to diverge again would prove nothing


def test_a_loss_that_is_nan_in_bfloat16_alone_says_so_and_names_the_way_out(tmp_path):
    track = tmp_path / "rough.toml"
    text = (Path(__file__).parent / "tiny.toml").read_text()
    text = text.replace('name = "tiny"', 'name = "rough"').replace('precision = "float32"', 'precision = "bfloat16"')
    track.write_text(text)
    faults = ("toy+fault=rounding", "toy+fault=nan")
    alone, everywhere = run(tmp_path, *faults, track=str(track), executor="inline")
    assert alone.status == everywhere.status == "diverged"
    way = 'in float32 it is finite at the same weights and batch: precision = "float32" in the recipe'
    assert alone.reason == f"the loss became nan at step 3 in bfloat16; {way}"
    assert everywhere.reason == "the loss became nan at step 3, in float32 as in bfloat16"
    assert way.partition("=")[0] in (tmp_path / "rough" / "leaderboard.md").read_text()


def test_killed_for_good_and_resumed_is_the_same_run_bit_for_bit(tmp_path):
    """A real kill -9 in the middle of training, while checkpoints are being written all the time."""
    (whole,) = run(tmp_path / "whole", "toy+fault=slow", checkpoint_seconds=1e-3)
    killed = []

    def kill(config, progress):
        if progress.step >= 15 and not killed:
            killed.append(run_process().pid)
            os.kill(killed[0], signal.SIGKILL)

    (dead,) = run(tmp_path / "parts", "toy+fault=slow", checkpoint_seconds=1e-3, listener=Ears(kill))
    assert (dead.status, dead.reason) == ("interrupted", "killed by SIGKILL")
    folder = directory(tmp_path / "parts", dead)
    assert any(folder.glob("checkpoints/[0-9]*")) and not (folder / "ema.safetensors").exists()
    seen = Ears()
    (parts,) = run(tmp_path / "parts", "toy+fault=slow", checkpoint_seconds=1e-3, listener=seen)
    assert (parts.status, parts.training.resumed) == ("finished", 1)
    assert seen.heard[0].step > 15  # it did not start over
    assert parts.training.steps == whole.training.steps and parts.training.images == whole.training.images

    one, other = (load_file(directory(tmp_path / name, whole) / "ema.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    assert parts.sampling.images_sha256 == whole.sampling.images_sha256
    assert [m.value for m in parts.metrics] == [m.value for m in whole.metrics]
    losses = [
        [
            json.loads(line)["loss"]
            for line in (directory(tmp_path / name, whole) / "curve.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


WANDERING = """
import os
import ditbench
from toy_net import Toy

class Wandering(Toy):
    def __init__(self, *of, **how):
        super().__init__(*of, **how)
        os.chdir("/")

    def forward(self, *of):
        os.chdir("/")
        return super().forward(*of)

@ditbench.hookimpl
def ditbench_architectures():
    return [ditbench.Architecture(
        name="wandering", build="wandering:Wandering", sizes={"nano": {"width": 8}}, paper="none", licence="none"
    )]
"""


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_a_plugin_that_changes_the_working_directory_changes_no_place(install, tmp_path, monkeypatch, executor):
    install("ditbench-wandering", "wandering", WANDERING)
    monkeypatch.chdir(tmp_path)
    options = {"device": "cpu", "executor": executor, "budget": "5-steps", "out": "runs"}
    records = campaign.run("tiny", ["wandering"], [0, 1], **options)
    assert [record.status for record in records] == ["finished"] * 2, records[0].reason
    assert Path.cwd() == tmp_path and not Path("/runs").exists()
    assert all((tmp_path / "runs" / "tiny" / record.run_id / "samples.png").exists() for record in records)


def test_ctrl_c_saves_and_the_rest_waits(tmp_path):
    def press(config, progress):
        if progress.step >= 5:
            os.kill(os.getpid(), signal.SIGINT)

    ears = Ears(press)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "toy+fault=slow", "toy", listener=ears)
    assert ears.begun == ["toy:nano+fault=slow"]
    (folder,) = (path for path in (tmp_path / "tiny").iterdir() if (path / "record.json").exists())
    assert read_record(folder / "record.json").status == "interrupted" and any(folder.glob("checkpoints/[0-9]*"))
    assert "interrupted" in (tmp_path / "tiny" / "leaderboard.md").read_text()


def test_ctrl_c_saves_inline_too(tmp_path):
    def press(config, progress):
        if progress.step > 5:
            os.kill(os.getpid(), signal.SIGINT)

    ears = Ears(press)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "toy+fault=slow", "toy", listener=ears, executor="inline")
    assert ears.begun == ["toy:nano+fault=slow"]
    assert len(list((tmp_path / "tiny").glob("*/checkpoints/[0-9]*"))) == 1


def test_a_run_that_another_command_finished_meanwhile_is_left_alone(tmp_path):
    (record,) = run(tmp_path, "toy", budget="5-steps")
    (config,) = make_plan(Registry.installed(), "tiny", ["toy"], budget="5-steps", device="cpu")
    job = Job(config, directory(tmp_path, record), record.environment)
    assert carry_out(job, Watch(should_stop=lambda: True)) == record


def test_an_edited_plugin_is_another_run(tmp_path, install):
    source = (Path(__file__).parent / "toy_net.py").read_text()
    plugin = (Path(__file__).parent / "toy.py").read_text().replace("toy_net:Toy", "edited_net:Toy")
    plugin = plugin.replace('name="toy"', 'name="edited"').split("@ditbench.hookimpl\ndef ditbench_tracks")[0]
    install("ditbench-edited", "edited", plugin)
    site = Path(sys.modules["edited"].__file__).parent if "edited" in sys.modules else tmp_path / "site"
    (site / "edited_net.py").write_text(source)
    first = run(tmp_path, "edited", budget="3-steps")[0]
    (site / "edited_net.py").write_text(source.replace("0.1)", "0.2)"))
    second = run(tmp_path, "edited", budget="3-steps")[0]
    assert first.run_id != second.run_id and second.status == "finished"
    (config,) = make_plan(Registry.installed(), "tiny", ["edited"], budget="4-steps", device="cpu")
    (site / "edited_net.py").write_text(source)  # while the run waits for its turn
    late = carry_out(Job(config, tmp_path / "tiny" / config.run_id, first.environment), Watch())
    assert late.status == "failed" and "The source of 'edited' changed after this run was planned" in late.reason


def test_a_track_with_another_objective_sampler_and_guidance(tmp_path, install):
    tiny = (Path(__file__).parent / "tiny.toml").read_text().replace('name = "tiny"', 'name = "guided"', 1)
    tiny = re.sub(r"\[objective\].*?\[recipe\]", '[objective]\nname = "iddpm"\n[recipe]', tiny, flags=re.DOTALL)
    tiny = re.sub(r'name = "euler"\nsteps = \d+', 'name = "ddpm"\nsteps = 7', tiny)
    tiny += '[sampler.guidance]\nscale = 1.5\nschedule = "power-cosine"\nchannels = 1\n'
    (tmp_path / "guided.toml").write_text(tiny)
    hook = "import ditbench, pathlib\n\n@ditbench.hookimpl\ndef ditbench_tracks():\n    return [pathlib.Path(PATH)]\n"
    install("ditbench-guided", "guided_track", hook.replace("PATH", repr(str(tmp_path / "guided.toml"))))
    (record,) = campaign.run("guided", ["toy"], out=tmp_path, device="cpu", budget="5-steps", executor="inline")
    assert record.status == "finished", record.reason
    assert record.sampling.evaluations == 13  # the first step, at t = 999, has weight 1
    assert record.sampling.sampler == "ddpm"
    guidance = read_record(tmp_path / "guided" / record.run_id / "record.json").track.sampler.guidance
    assert (guidance.formula, guidance.scale, guidance.channels) == ("u + w(c - u)", 1.5, 1)
    for old, new, message in (
        ("channels = 1", "channels = 3", "guidance on 3 channels does not fit examples of 1 channels"),
        ("steps = 7", "steps = 1001", "sampler 'ddpm' has at most 1000 steps"),
        ("steps = 7", "steps = 1", "sampler 'ddpm' needs at least 2 steps"),
        (
            'name = "iddpm"',
            'name = "iddpm"\nsettings = { schedule = "cosine" }',
            "'iddpm' .* schedule: Input should be 'linear' or 'scaled-linear', not 'cosine'",
        ),
        ("label_dropout = 0.1", "label_dropout = 0.0", "guidance needs a label_dropout above 0"),
    ):
        (tmp_path / "guided.toml").write_text(tiny.replace(old, new))
        with pytest.raises(BadValue, match=message):
            campaign.run("guided", ["toy"], out=tmp_path, device="cpu")


def test_a_broken_network_fails_alone(tmp_path, install):
    plugin = (Path(__file__).parent / "toy.py").read_text().replace("toy_net:Toy", "no_such_module:Toy")
    plugin = plugin.replace('name="toy"', 'name="hollow"').split("@ditbench.hookimpl\ndef ditbench_tracks")[0]
    install("ditbench-hollow", "hollow", plugin)
    records = run(tmp_path, "hollow", "toy", budget="3-steps")
    assert [record.status for record in records] == ["failed", "finished"]
    assert "can't be loaded: ModuleNotFoundError: No module named 'no_such_module'. " in records[0].reason


def test_the_second_command_on_a_run_directory_is_told(tmp_path):
    told = []

    def second(config, progress):
        if progress.step >= 5 and not told:
            with pytest.raises(RunBusy, match="being written by another ditbench command"):
                run(tmp_path, "toy+fault=slow")
            told.append(True)

    (record,) = run(tmp_path, "toy+fault=slow", listener=Ears(second))
    assert told and record.status == "finished"


def test_a_run_whose_directory_another_machine_has_taken_over_writes_nothing_more(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.01)
    taken = []

    def take_over(config, progress):
        if progress.step >= 5 and not taken:
            (held,) = (tmp_path / "tiny").glob(f"*/{claims.CLAIMS}/*")
            taken.append(held.rename(held.with_name("2000")))
            time.sleep(0.5)

    (record,) = run(tmp_path, "toy+fault=slow", executor="inline", listener=Ears(take_over))
    assert record.status == "interrupted" and "is no longer this command's" in record.reason
    assert not [path for path in directory(tmp_path, record).iterdir() if "record" in path.name or "check" in path.name]


def test_a_damaged_record_keeps_only_its_own_run_from_running(tmp_path):
    (record,) = run(tmp_path, "toy", budget="3-steps")
    (directory(tmp_path, record) / "record.json").write_text('{"schema_version":')
    remove = (
        f"{record.run_id}/record.json' can't be read.*`ditbench runs remove {record.run_id} --runs {tmp_path}/tiny`"
    )
    ears = Ears()
    (other,) = run(tmp_path, "toy+depth=2", budget="3-steps", listener=ears)
    (told,) = ears.passed_over
    assert other.status == "finished" and re.search(remove, told)
    with pytest.raises(BadFile, match=rf"{remove}.* `force` starts it over"):
        run(tmp_path, "toy", budget="3-steps", listener=(again := Ears()))
    assert again.begun == []
    (mended,) = run(tmp_path, "toy", budget="3-steps", force=True, listener=again)
    assert mended.status == "finished" and again.passed_over == []


def test_a_damaged_checkpoint_is_a_failed_row_that_says_what_to_do(tmp_path):
    (record,) = run(tmp_path, "toy")
    folder = directory(tmp_path, record)
    (folder / "record.json").unlink()
    torn = folder / "checkpoints" / "000001"
    torn.mkdir(parents=True)
    (torn / "state.json").write_bytes(b"torn")
    (failed,) = run(tmp_path, "toy")
    assert failed.status == "failed" and "Start the run over with `force`" in failed.reason
    assert run(tmp_path, "toy", force=True)[0].status == "finished"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"device": "cuda:63"}, BadValue, "Device 'cuda:63' is not here"),
        ({"executor": "cloud"}, UnknownName, "No executor named 'cloud'"),
        ({"out": "file/below"}, DitbenchError, "can't be written"),
    ],
)
def test_what_can_not_work_is_said_before_training(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    ears = Ears()
    with pytest.raises(error, match=message):
        campaign.run("tiny", ["toy"], **{"out": "runs", "device": "cpu", "listener": ears, **arguments})
    assert ears.begun == []


def test_the_public_api_runs_several_seeds_inline_without_a_server(tmp_path, monkeypatch):
    monkeypatch.setattr("ditbench.runtime.processes.start_server", lambda: pytest.fail("a server"))
    records = ditbench.run(
        track="tiny", architectures=["toy"], seeds=[0, 1], out=tmp_path, executor="inline", budget="5-steps"
    )
    assert [record.seed for record in records] == [0, 1]
    assert all(isinstance(record, ditbench.Record) and record.status == "finished" for record in records)
    assert records[0].sampling.images_sha256 != records[1].sampling.images_sha256


def test_the_run_stops_when_nobody_hears_it_any_more(tmp_path):
    """It saves and ends instead of training on unseen."""

    def leave(config, progress):
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="terminal"):
        run(tmp_path, "toy+fault=slow", budget="4000-steps", listener=Ears(leave))
    (path,) = (tmp_path / "tiny").glob("*/record.json")
    assert read_record(path).status == "interrupted" and any(path.parent.glob("checkpoints/[0-9]*"))
