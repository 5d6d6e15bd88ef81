"""Runs on submitit's local executor and on a real Slurm, whole. Faster: test_slurm.py, with stand-ins."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from test_campaign import run
from test_slurm import jobs_of, same, settings, time_is_up, until

from ditbench.executors import slurm_queue
from ditbench.executors.jobs import Job
from ditbench.executors.listeners import Silent
from ditbench.executors.slurm import execute_on_slurm, preflight_on_slurm
from ditbench.records.record import config_of

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def cluster(monkeypatch):
    """A real Slurm on this machine."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root and Debian's slurm-wlm and munge; missing: {', '.join(missing) or 'root'}")
    commands = Path(__file__).parents[1] / "support" / "slurm_cluster.sh"
    folder = tempfile.mkdtemp()  # pytest's are closed to munge
    subprocess.run([commands, "up", folder], check=True, timeout=60)
    monkeypatch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
    monkeypatch.setattr("ditbench.executors.slurm.POLL", {"slurm": 0.5})
    monkeypatch.setattr("ditbench.executors.slurm.GRACE", {"slurm": 5})
    yield
    subprocess.run([commands, "down", folder], check=True, timeout=60)
    shutil.rmtree(folder)


def tasks_of(folder):
    return {run: task for submission in slurm_queue.remembered(folder) for run, task in submission.tasks.items()}


# faster: test_the_same_records_as_any_executor_though_the_time_of_one_runs_out
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # as submitit leaves it
def test_submitits_local_executor(toy, tmp_path):
    plain = run(tmp_path / "process", "toy", "toy+fault=slow", budget="100-steps")
    jobs, how = jobs_of(plain, tmp_path / "slurm"), settings(tmp_path / "slurm", cluster="local", wait=True)

    def process():
        (task,) = psutil.Process(int(tasks_of(how.folder)[jobs[1].config.run_id])).children()
        return task.pid

    time_is_up(jobs[1], process)
    found = sorted(execute_on_slurm(jobs, Silent(), how), key=lambda record: record.run_id != plain[0].run_id)
    assert all(map(same, found, plain)) and [record.training.resumed for record in found] == [0, 1]


# faster: all of the above, with stand-ins for Slurm's commands, and submitit's local executor
@pytest.mark.slow
def test_a_real_slurm(toy, tmp_path, cluster, ditbench):
    """A plan of three: one finishes, one's time runs out and it goes on, one is cancelled."""
    plain = run(tmp_path / "process", "toy", "toy+fault=slow", budget="300-steps", parallel=1)
    out = tmp_path / "slurm"
    how = settings(out, cpus=1, partition="debug", time_minutes=10, wait=True)
    (again,) = preflight_on_slurm([config_of(plain[0])], how)
    assert again.config.hash == config_of(plain[0]).hash and again.environment == plain[0].environment
    doomed = config_of(plain[1]).model_copy(update={"seed": 9, "budget": "100000-steps"})
    jobs = [*jobs_of(plain, out), Job(doomed, out / "tiny" / doomed.run_id, again.environment)]

    def time_is_up_for_one_and_another_is_cancelled():
        for job, command in zip(jobs[1:], (["scancel", "--signal=USR1"], ["scancel"]), strict=True):
            until((job.directory / "curve.jsonl").exists)
            time.sleep(1)
            subprocess.run([*command, tasks_of(how.folder)[job.config.run_id]], check=True)
            until((job.directory / "record.json").exists)  # which the run itself writes: it has saved
        rows = {row["run"]: row for row in json.loads(ditbench("status", str(out), "--json"))}
        seen.append([(rows[job.config.run_id]["queue"], rows[job.config.run_id]["record"]) for job in jobs])

    seen = []
    thread = threading.Thread(target=time_is_up_for_one_and_another_is_cancelled)
    thread.start()
    found = {record.run_id: record for record in execute_on_slurm(jobs, Silent(), how)}
    thread.join()
    finished, requeued, cancelled = (found[job.config.run_id] for job in jobs)
    assert same(finished, plain[0]) and same(requeued, plain[1])
    assert (finished.training.resumed, requeued.training.resumed) == (0, 1)
    assert cancelled.status == "interrupted" and "CANCELLED" in cancelled.reason
    assert any(jobs[2].directory.glob("checkpoints/[0-9]*"))
    ((of_finished, (saved, record), of_cancelled),) = seen
    assert of_finished == ("COMPLETED", "finished") and of_cancelled == ("COMPLETING", "interrupted")
    assert saved in ("RUNNING", "COMPLETING", "PENDING") and record == "interrupted"  # on its way back into the queue
