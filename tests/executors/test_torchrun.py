"""Runs under torchrun: alone in this process's place, and, on demand, two processes of a real torchrun."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from test_campaign import Ears, run, run_process
from test_ranks import PICKY, other_track
from test_slurm import same

from ditbench import campaign
from ditbench.errors import BadValue, DitbenchError
from ditbench.executors import torchrun
from ditbench.records.record import read_record

pytestmark = [pytest.mark.usefixtures("toy"), pytest.mark.timeout(300)]


@pytest.fixture
def as_rank_0(monkeypatch):
    """This process is torchrun's only one."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"TORCHELASTIC_RUN_ID": "test", "RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}  # fmt: skip
    before = signal.getsignal(signal.SIGTERM)
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_same_records_and_one_that_fails_is_a_row(tmp_path, as_rank_0, monkeypatch):
    rows = run(tmp_path / "torchrun", "toy+fault=raise", "toy")
    assert [record.status for record in rows] == ["failed", "finished"]
    assert rows[0].reason == "rank 0: RuntimeError: the toy broke, as ordered"
    monkeypatch.delenv("RANK")
    (alone,) = run(tmp_path / "process", "toy")
    assert same(rows[1], alone)


def test_what_a_user_can_mend_is_told_as_anywhere(install, tmp_path, as_rank_0):
    install("ditbench-picky", "picky", PICKY)
    track = other_track(tmp_path, ('"knn"]', '"knn", "picky"]'))
    (record,) = campaign.run(track, ["toy"], out=tmp_path, device="cpu")
    assert (record.status, record.reason) == ("failed", "nothing is good enough")


def test_a_killed_process_costs_a_restart(tmp_path, as_rank_0):
    killed = []

    def kill(config, progress):
        if progress.step >= 10 and not killed:
            killed.append(run_process().pid)
            os.kill(killed[0], signal.SIGKILL)

    (record,) = run(tmp_path, "toy+fault=slow", checkpoint_seconds=0.1, listener=Ears(kill), force=True)
    assert killed and record.status == "finished" and record.training.resumed == 1


def test_what_ends_torchrun_lets_the_run_save(tmp_path, as_rank_0):
    ended = []

    def end(config, progress):
        if progress.step >= 10 and not ended:
            ended.append(progress.step)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "toy+fault=slow", listener=Ears(end))
    (path,) = (tmp_path / "tiny").glob("*/record.json")
    assert read_record(path).status == "interrupted" and any(path.parent.glob("checkpoints/[0-9]*"))


def test_what_can_not_be_is_told(tmp_path, as_rank_0, monkeypatch):
    with pytest.raises(BadValue, match="'slurm' is not for processes of torchrun"):
        run(tmp_path, "toy", executor="slurm")
    with pytest.raises(BadValue, match="'torchrun' has no `processes`"):
        run(tmp_path, "toy", processes=2)
    monkeypatch.setenv("WORLD_SIZE", "17")
    with pytest.raises(BadValue, match="17 processes can't share batches of 16 images"):
        run(tmp_path, "toy")
    monkeypatch.delenv("RANK")
    with pytest.raises(BadValue, match="is for processes of torchrun"):
        run(tmp_path, "toy", executor="torchrun")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_without_a_torchrun_its_variables_are_one_line(tmp_path, as_rank_0, monkeypatch, rank):
    """They are left in a shell or a container; the processes would wait for a day."""
    monkeypatch.setattr(torchrun, "_PATIENCE", 0.1)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(DitbenchError, match=r"none answers at 127\.0\.0\.1:1 .* or unset TORCHELASTIC_RUN_ID"):
        run(tmp_path, "toy")
    monkeypatch.setenv("LOCAL_RANK", "first")
    with pytest.raises(BadValue, match="LOCAL_RANK is 'first', no number"):
        run(tmp_path, "toy")


def test_a_follower_obeys_until_there_is_no_more(as_rank_0, monkeypatch):
    monkeypatch.setattr(torchrun, "_ORDERS", itertools.count())
    torchrun._seat().store().set(torchrun._key(0, "order"), torchrun.pickle.dumps(torchrun._Order(0, None)))
    monkeypatch.setenv("RANK", "1")
    assert torchrun.follows() and torchrun.follow() is None


def torchrun_of_two(out, *more, options=()):
    """The command, as a user gives it, on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
                "--rdzv-endpoint=localhost:0", *options]  # fmt: skip
    asked = ["--plugins", "dit:nano", "--budget", "200-steps", "--samples", "20", "--device", "cpu", "--out", str(out)]
    return subprocess.Popen(
        [*launcher, "-m", "ditbench", "run", *asked, "--checkpoint-every", "1", *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def the_record(out):
    (path,) = out.glob("digits/*/record.json")
    return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True], ids=["copies", "shards"])
def test_two_processes_of_torchrun_find_what_one_process_finds(tmp_path, shard):
    command = torchrun_of_two(tmp_path / "two", *["--shard"] * shard)
    said, _ = command.communicate(timeout=280)
    assert command.returncode == 0 and said.count("Records, grids") == 1, said
    asked = ["--plugins", "dit:nano", "--budget", "200-steps", "--samples", "20", "--device", "cpu", "--quiet"]
    subprocess.run([sys.executable, "-m", "ditbench", "run", *asked, "--out", str(tmp_path / "one")],
                   check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)  # fmt: skip
    two, one = the_record(tmp_path / "two"), the_record(tmp_path / "one")
    losses = [[point["loss"] for point in record["training"]["curve"]] for record in (two, one)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert two["environment"]["processes"] == 2 and two["run_id"] == one["run_id"]


@pytest.mark.slow
def test_a_rank_of_torchruns_that_is_killed_costs_a_restart(tmp_path):
    command = torchrun_of_two(tmp_path)
    deadline = time.monotonic() + 200
    while not any(tmp_path.glob("digits/*/checkpoints/[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    (rank, *_) = [p for p in psutil.Process(command.pid).children(recursive=True) if works(p)]
    rank.kill()
    said, _ = command.communicate(timeout=200)
    record = the_record(tmp_path)
    assert command.returncode == 0 and record["status"] == "finished", said
    assert record["training"]["resumed"] == 1 and record["training"]["steps"] == 200


def works(process):
    """Whether it is a rank's process of a run: the server's own child, with a place in its run's log."""
    try:
        return any(file.path.endswith("log.txt") for file in process.open_files())
    except psutil.Error:
        return False
