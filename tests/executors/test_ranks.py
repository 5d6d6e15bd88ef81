"""Runs in several processes of this machine: the same results, and an end for every ending."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from test_campaign import Ears, directory, run, run_process

from ditbench import campaign
from ditbench.benchmark.setup import resolve
from ditbench.benchmark.snapshots import snapshots_in
from ditbench.errors import BadValue
from ditbench.records.record import config_of, read_record
from ditbench.registry import Registry

pytestmark = [pytest.mark.usefixtures("toy"), pytest.mark.timeout(240)]


PICKY = """
import ditbench

def measure(fake, real):
    if len(real.pixels) > 100:  # more than the few that it is tried on beforehand
        raise ditbench.BadValue("nothing is good enough")
    return ditbench.Score(1.0)

@ditbench.hookimpl
def ditbench_metrics():
    return [ditbench.Metric(name="picky", measure=measure, higher_is_better=True, sees="pixels")]
"""


FAULTY = """
import time
import dataclasses
import os

import ditbench
from ditbench import builtins
from ditbench.metrics.extractors.small_cnn import digits_cnn

def build(weights):
    network = digits_cnn(weights)
    network.register_forward_pre_hook(check)
    return network

def check(module, inputs):
    if "TORCHELASTIC_RESTART_COUNT" not in os.environ:  # in no rank
        return
    if os.environ["RANK"] == "RANK_TO_FAIL":
        raise FAULT("nothing can be seen")
    if STUCK:  # as one that waits for the others in a collective of NCCL's
        time.sleep(600)

@ditbench.hookimpl
def ditbench_extractors():
    digits = next(of for of in builtins.ditbench_extractors() if of.name == "digits-cnn")
    return [dataclasses.replace(digits, name="faulty", build="faulty:build")]
"""


def other_track(folder, *changes):
    """The tiny track with 250 samples, three batches for an extractor, and changes."""
    text = (Path(__file__).parents[1] / "tiny.toml").read_text()
    for old, new in (('name = "tiny"', 'name = "other"'), ("samples = 40", "samples = 250"), *changes):
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "other.toml").write_text(text)
    return str(folder / "other.toml")


def at_work(folder):
    """The processes that write below it, whosever children they are by now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += [process for file in process.open_files() if file.path.startswith(str(folder))]
    return found


@pytest.fixture
def nobody_left(tmp_path):
    """No process outlives its run: each has the run's log for its output."""
    yield
    deadline = time.monotonic() + 10
    while (left := at_work(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


@pytest.mark.parametrize("shard", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["copies", "shards"])
def test_two_processes_find_what_one_finds(tmp_path, nobody_left, shard):
    """The same losses as one finds, and from the same images the same metrics."""
    track, both = other_track(tmp_path), {"device": "cpu", "budget": "12-steps"}
    options = {**both, "keep_samples": True, "raw_weights": True, "eval_at": [0.5], "ema_snapshots": 2}
    (alone,) = campaign.run(track, ["dit"], out=tmp_path / "one", **both)
    (record,) = campaign.run(track, ["dit"], out=tmp_path / "two", processes=2, shard=shard, **options)
    assert record.status == "finished" and record.run_id == alone.run_id, record.reason
    assert (alone.environment.processes, record.environment.processes) == (1, 2)
    assert record.hardware == f"2 x {alone.hardware}"
    losses = [[point.loss for point in one.training.curve] for one in (alone, record)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert max(record.sampling.batch_images) == 2 * max(alone.sampling.batch_images)  # a batch each at a time
    assert sum(record.sampling.batch_images) == sum(alone.sampling.batch_images)
    assert record.sampling.labels_sha256 == alone.sampling.labels_sha256
    assert len(record.milestones) == 1 and record.milestones[0].metrics and record.training.resumed == 0
    snapshots = snapshots_in(tmp_path / "two" / "other" / record.run_id, record.run_hash)
    assert [one.facts.steps for one in snapshots] == [6, 12]
    metrics = measured_alone(record, tmp_path / "two" / "other" / record.run_id / "samples.npz")
    assert record.metrics == metrics and record.raw.sampling.weights == "raw"
    assert [of.protocol for of in record.raw.metrics] == [
        of.protocol for of in metrics
    ] and record.raw.metrics != metrics


def measured_alone(record, path):
    """The metrics of a run's images by one process, with the threads that each of two had."""
    with np.load(path) as samples:
        pixels, labels = samples["arr_0"].transpose(0, 3, 1, 2), samples["arr_1"]
    scoring = resolve(config_of(record), Registry.installed()).scoring
    device, threads = torch.device("cpu"), torch.get_num_threads()
    torch.set_num_threads(max(1, record.environment.threads // 2))
    try:
        networks = scoring.load_networks(device)
        return scoring.measure(networks, scoring.read(networks, device), pixels, labels, device)
    finally:
        torch.set_num_threads(threads)


# faster: test_torchrun's test_a_killed_process_costs_a_restart, of one process
@pytest.mark.slow
def test_a_killed_process_costs_a_restart_and_no_more(tmp_path, nobody_left):
    killed = []

    def kill(config, progress):
        if progress.step >= 10 and not killed:
            killed.append(run_process().pid)
            os.kill(killed[0], signal.SIGKILL)

    (record,) = run(tmp_path, "toy+fault=slow", processes=2, checkpoint_seconds=0.1, listener=Ears(kill), force=True)
    assert killed and record.status == "finished", record.reason
    assert record.training.resumed == 1 and record.training.steps == 40
    assert [point.step for point in record.training.curve] == sorted({point.step for point in record.training.curve})


def test_a_process_that_raises_ends_all_and_is_named(tmp_path, nobody_left):
    (record,) = run(tmp_path, "toy+fault=raise", processes=2, data="synthetic")
    assert record.status == "failed"
    assert record.reason in [f"rank {rank}: RuntimeError: the toy broke, as ordered" for rank in (0, 1)]
    log = (directory(tmp_path, record) / "log.txt").read_text()
    assert 1 <= log.count("rank 0:\nTraceback") + log.count("rank 1:\nTraceback") <= 2  # of one attempt: no restart


@pytest.mark.slow
def test_what_diverges_is_a_result(tmp_path, nobody_left):
    (record,) = run(tmp_path, "toy+fault=nan", processes=2)
    assert record.status == "diverged" and "the loss became nan at step 3" in record.reason


@pytest.mark.slow
def test_what_the_main_process_alone_finds_wrong_is_told_once(install, tmp_path, nobody_left):
    """A metric is measured by rank 0; the other would only know that it was left alone."""
    install("ditbench-picky", "picky", PICKY)
    track = other_track(tmp_path, ('"knn"]', '"knn", "picky"]'))
    (record,) = campaign.run(track, ["toy"], out=tmp_path, device="cpu", processes=2, eval_at=[0.5])
    assert record.status == "failed" and record.reason == "nothing is good enough"
    assert "rank 1:" not in (tmp_path / "other" / record.run_id / "log.txt").read_text()


@pytest.mark.parametrize(
    ("rank", "fault", "reason", "stuck"),
    [
        pytest.param("0", "ditbench.BadValue", "nothing can be seen", True, marks=pytest.mark.slow),
        pytest.param("0", "ditbench.BadValue", "nothing can be seen", False, marks=pytest.mark.slow),
        pytest.param("1", "RuntimeError", "rank 1: RuntimeError: nothing can be seen", True, marks=pytest.mark.slow),
        pytest.param("1", "RuntimeError", "rank 1: RuntimeError: nothing can be seen", False, marks=pytest.mark.slow),
    ],
)
def test_an_extractor_that_fails_on_one_process_ends_all(install, tmp_path, nobody_left, rank, fault, reason, stuck):
    """Reason and log say whose it was, not who was left alone, and nobody waits for it."""
    faulty = FAULTY.replace("RANK_TO_FAIL", rank).replace("FAULT(", f"{fault}(").replace("STUCK", str(stuck))
    install("ditbench-faulty", "faulty", faulty)
    track = other_track(tmp_path, ('features = "digits-cnn"', 'features = "faulty"'))
    (record,) = campaign.run(track, ["toy"], out=tmp_path, device="cpu", processes=2)
    assert (record.status, record.reason) == ("failed", reason)
    log = (tmp_path / "other" / record.run_id / "log.txt").read_text()
    assert ("rank 1:" in log) == (rank == "1") and f"{fault.rpartition('.')[2]}: nothing can be seen" in log


def test_ctrl_c_saves_and_another_number_of_processes_goes_on(tmp_path, nobody_left):
    pressed, plan = [], {"budget": "20-steps", "data": "synthetic"}  # to measure takes longer than to train

    def press(config, progress):
        if progress.step >= 5 and not pressed:
            pressed.append(progress.step)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "toy+fault=slow", processes=2, listener=Ears(press), **plan)
    (path,) = (tmp_path / "tiny").glob("*/record.json")
    assert read_record(path).status == "interrupted"
    (record,) = run(tmp_path, "toy+fault=slow", **plan)
    assert record.status == "finished" and record.training.resumed == 1
    assert record.environment.processes == 1 and record.run_id == path.parent.name


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"processes": 17}, "17 processes can't share batches of 16 images"),
        ({"processes": 2, "executor": "inline"}, "'inline' has no `processes`"),
    ],
)
def test_what_can_not_be_is_told_first(tmp_path, options, told):
    with pytest.raises(BadValue, match=told):
        run(tmp_path, "toy", **options)
