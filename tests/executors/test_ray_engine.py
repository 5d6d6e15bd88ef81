"""Runs as Ray's tasks, on one local Ray that starts once for all tests here."""

import fcntl
import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
from ray._private.runtime_env import uv_runtime_env_hook
from records import ENVIRONMENT
from test_campaign import Ears, run
from test_slurm import same, until

from conftest import TESTS
from ditbench.errors import BadValue, DitbenchError
from ditbench.executors import ray_cluster
from ditbench.executors.engine import Wishes
from ditbench.executors.jobs import Job
from ditbench.executors.ray_cluster import Share, share_of
from ditbench.executors.ray_engine import OnRay
from ditbench.executors.ray_task import Place, answer_preflight, carry_out
from ditbench.records.record import read_record
from ditbench.registry import Registry
from ditbench.tracks.plan import make_plan

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The only Ray on the machine: two that start at one moment may take one port."""
    with (tmp_path_factory.getbasetemp().parent / "ray.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def here(tmp_path_factory, cache, alone):
    """The toy plugin as if it were installed, here and in the tasks of a local Ray, which starts once."""
    site = tmp_path_factory.mktemp("site")
    info = site / "ditbench_toy-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ditbench-toy\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[ditbench]\ntoy = toy\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(TESTS)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(uv_runtime_env_hook, "_get_uv_run_cmdline", lambda: ["uv", "run", "ditbench"])  # as many start it
        ray_cluster.start_here()
        yield site
        ray.shutdown()


def on_ray(out, *architectures, **more):
    return run(out, *architectures, executor="ray", **more)


def forked():
    """The processes below Ray's that were forked for runs, or are the servers of such."""
    (raylet,) = [process for process in psutil.Process().children(recursive=True) if process.name() == "raylet"]
    return [process for process in raylet.children(recursive=True) if "forkserver" in _command(process)]


def _command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


def worker_of(run):
    """Ray's process whose task is at a run: below it are the server, the run's process, and that of its work."""
    return run.parent().parent().parent()


def runs():
    """The processes of runs, the newest last."""
    return sorted((process for process in forked() if not process.children()), key=lambda run: run.create_time())


def gone(processes):
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_the_same_records_as_any_executor(here, tmp_path):
    (plain,) = run(tmp_path / "process", "toy")
    ears, again = Ears(), Ears()
    cpus = f"cpus={plain.environment.threads}"  # as many threads: they are in a run's name
    (found,) = on_ray(tmp_path / "ray", "toy", options=[cpus], parallel=1, listener=ears)
    assert same(found, plain) and found.run_id == plain.run_id
    assert ears.begun == ["toy:nano"] and {p.stage for p in ears.heard} > {"train", "measure"}
    assert read_record(tmp_path / "ray" / "tiny" / found.run_id / "record.json") == found
    assert on_ray(tmp_path / "ray", "toy", options=[cpus], listener=again) == [found] and not again.begun
    assert run(tmp_path / "ray", "toy", listener=again) == [found] and not again.begun


# faster: test_a_run_whose_worker_is_lost_for_good_has_a_record_that_says_so
@pytest.mark.slow
def test_a_run_whose_worker_is_killed_goes_on_in_another(here, tmp_path):
    plan = {"budget": "100-steps", "checkpoint_seconds": 0.1}
    (plain,) = run(tmp_path / "process", "toy+fault=slow", **plan)
    killed = []

    def kill(config, progress):
        if progress.step >= 10 and not killed:
            killed.append(worker_of(runs()[-1]))
            killed[0].kill()

    cpus = f"cpus={plain.environment.threads}"
    (found,) = on_ray(tmp_path / "ray", "toy+fault=slow", options=[cpus], listener=Ears(kill), **plan)
    assert killed and same(found, plain) and found.training.resumed == 1


@pytest.mark.slow
@pytest.mark.parametrize(("presses", "reason"), [(1, "stopped on request"), (2, "killed by SIGKILL")])
def test_ctrl_c_saves_and_a_second_one_kills(here, tmp_path, presses, reason):
    at_work, heard = [], set()

    def press(config, progress):
        heard.add(config.seed)
        if len(heard) == 2 and not at_work:
            at_work.extend(runs())
            for process in at_work[: 2 * (presses - 1)]:
                process.suspend()  # it can't save
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        on_ray(tmp_path, "toy+fault=slow", seeds=(0, 1, 2), budget="9000-steps", listener=Ears(press))
    records = [read_record(path) for path in sorted(tmp_path.glob("tiny/*/record.json"))]
    assert [(record.seed, record.status, record.reason) for record in records] == [
        (seed, "interrupted", reason) for seed in (0, 1)
    ]  # the third had not begun
    assert len(at_work) == 2
    until(lambda: gone(at_work))  # what is killed has not ended when that call returns


def test_a_run_whose_worker_is_lost_for_good_has_a_record_that_says_so(here, tmp_path):
    at_work = []

    def kill(config, progress):
        if not at_work:
            at_work.append(runs()[-1])
            worker_of(at_work[0]).kill()

    lost = Ears(kill)
    (record,) = on_ray(tmp_path, "toy+fault=slow", budget="9000-steps", options=["retries=0"], listener=lost)
    assert (record.status, lost.begun) == ("interrupted", ["toy:nano+fault=slow"])
    assert "its Ray task ended without an answer: WorkerCrashedError" in record.reason
    until(lambda: gone(at_work))  # the run's process, too, has noticed


@pytest.mark.slow
def test_what_goes_wrong_in_a_run_or_before_is_told_as_anywhere(here, tmp_path):
    (record,) = on_ray(tmp_path, "toy+fault=raise")
    assert (record.status, record.reason) == ("failed", "RuntimeError: the toy broke, as ordered")
    with pytest.raises(DitbenchError, match="No node of Ray's that is up has what a run asks for: 640 CPUs, 0 GPUs"):
        on_ray(tmp_path, "toy", options=["cpus=640"])


@pytest.fixture
def board():
    return SimpleNamespace(say=SimpleNamespace(remote=lambda run, progress: None))


def test_a_node_that_is_no_place_for_a_run(toy, tmp_path, board, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (config,) = make_plan(Registry.installed(), "tiny", ["toy"], device="cpu")
    other = config.model_copy(update={"hardware": "NVIDIA A100"})
    job = Job(other, tmp_path / "tiny" / other.run_id, ENVIRONMENT)
    record = carry_out(Place(tmp_path, tmp_path), job, False, board)
    assert record.status == "failed" and "was planned for NVIDIA A100, and Ray gave " in record.reason
    assert record == read_record(job.directory / "record.json")
    answer = answer_preflight(Place(tmp_path, tmp_path / "elsewhere"), [config], 1, board)
    assert isinstance(answer, DitbenchError) and "on storage that all nodes share" in str(answer)


def test_the_share_of_a_node():
    small, large = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0, "memory": 2.0**36}, {"CPU": 64.0, "GPU": 8.0}
    assert share_of([small, large], Share(0, 1), 1) == Share(4, 1)
    assert share_of([small, large], Share(0, 4), 1) == Share(32, 4)
    assert share_of([small, large], Share(0, 0), 2) == Share(4, 0)
    assert share_of([large, small], Share(3, 1, 2**30, "H100"), 1).bundle == {
        "CPU": 3, "GPU": 1, "memory": 2**30, "accelerator_type:H100": 0.001,
    }  # fmt: skip
    with pytest.raises(DitbenchError, match=r"asks for: 4 CPUs, 1 GPUs \(A100\) and 2 GiB\.$"):
        share_of([small, large], Share(4, 1, 2**31, "A100"), 1)


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        ({"options": ("gpus=one",)}, "'one' is no int"),
        ({"options": ("cpus=0",)}, "`options` cpus=0: it can't be less than 1"),
        ({"options": ("partition=gpu",)}, "there is no 'partition', only gpus, cpus, memory, retries, accelerator"),
        ({"options": ("gpus=1",), "processes": 2}, "2 processes need a GPU each; gpus=1 are too few"),
        ({"wait": True}, "The executor 'ray' has no `wait`"),
    ],
)
def test_what_can_not_be_is_one_line(tmp_path, wishes, complaint):
    with pytest.raises(BadValue, match=complaint):
        OnRay(Wishes(tmp_path, **wishes))


def test_an_address_without_a_ray_is_one_line(monkeypatch):
    with pytest.raises(BadValue, match="'head' is neither HOST:PORT nor 'auto'"):
        ray_cluster.join("head")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(DitbenchError, match=rf"^Nobody answers at '{address}' \(.*refused\)\."):
            ray_cluster.join(address)
        deaf.listen()
        monkeypatch.setattr(ray_cluster, "HEALTHY", 0.2)
        with pytest.raises(DitbenchError, match=rf"^What answers at '{address}' is no Ray that is well"):
            ray_cluster.join(address)


def test_ray_is_an_extra_that_is_imported_when_it_is_asked_for(tmp_path, monkeypatch):
    code = "import sys, ditbench.executors.ray_engine, ditbench.cli; assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(DitbenchError, match=r"^`executor` ray needs the extra: (uv )?pip install 'ditbench\[ray\]'$"):
        OnRay(Wishes(tmp_path))


def test_what_is_sent_to_a_cluster_is_an_installation(here, tmp_path):
    ray_cluster.stage(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"ditbench", "toy.py", "toy_net.py", "ditbench_dit"}
    assert (tmp_path / "ditbench" / "tracks" / "digits.toml").exists() and not list(tmp_path.rglob("*.pyc"))
    found = {d.name: {e.name for e in d.entry_points} for d in importlib.metadata.distributions(path=[str(tmp_path)])}
    assert found["ditbench-toy"] == {"toy"} and "ditbench" in found


def answers(port):
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


# faster: test_what_is_sent_to_a_cluster_is_an_installation
@pytest.mark.slow
def test_ditbench_and_plugins_reach_a_cluster_that_has_neither(tmp_path, monkeypatch):
    """Ray's head in an environment with all libraries, but without ditbench and its plugins."""
    libraries = tmp_path / "other" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    libraries.mkdir(parents=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "ditbench" not in entry.name:
            (libraries / entry.name).symlink_to(entry)
    (tmp_path / "other" / "bin").mkdir()
    python = tmp_path / "other" / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    (tmp_path / "other" / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    lacks = subprocess.run([python, "-c", "import torch, ditbench"], capture_output=True, text=True, check=False)
    assert "No module named 'ditbench'" in lacks.stderr
    for name, value in {"RAY_AUTH_TOKEN": "a" * 64, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray_folder = tempfile.mkdtemp(dir="/tmp")  # pytest's is too long for a socket
    head = [python, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=1",
            "--include-dashboard=false", f"--temp-dir={ray_folder}"]  # fmt: skip
    with subprocess.Popen(head, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as running:
        try:
            out = tmp_path / "runs"
            asked = ["run", "--plugins", "dit:nano", "--budget", "2-steps", "--samples", "20", "--device", "cpu"]
            more = ["--executor", "ray", "--address", f"127.0.0.1:{port}", "--out", str(out)]
            until(lambda: answers(port))
            done = subprocess.run(
                [Path(sys.executable).with_name("ditbench"), *asked, *more], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (path,) = out.glob("digits/*/record.json")
            record = read_record(path)
            assert record.architecture.distribution == "ditbench-dit" and record.environment.threads == 1
            assert record.environment.git_commit is None  # it was no checkout that ran
        finally:
            running.terminate()
    shutil.rmtree(ray_folder)


@pytest.mark.slow
def test_a_run_of_several_processes_has_a_node_to_itself(here, tmp_path):
    (plain,) = run(tmp_path / "process", "toy", processes=2)
    (found,) = on_ray(tmp_path / "ray", "toy", processes=2, options=[f"cpus={plain.environment.threads}"])
    assert found.status == "finished" and same(found, plain)
