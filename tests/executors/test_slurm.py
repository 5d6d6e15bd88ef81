"""Runs on Slurm: what submitit does, with stand-ins for Slurm's commands."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from records import ENVIRONMENT, unfinished
from submitit.core.submission import process_job
from submitit.core.utils import DelayedSubmission
from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE
from test_campaign import Ears, run

from ditbench import campaign
from ditbench.errors import BadValue, DitbenchError, NoRecordsYet, RunBusy
from ditbench.executors import local, slurm_queue
from ditbench.executors.engine import Ready
from ditbench.executors.jobs import Job
from ditbench.executors.listeners import Silent
from ditbench.executors.slurm import Settings, execute_on_slurm, script
from ditbench.executors.slurm_task import SlurmTask
from ditbench.records.record import config_of, read_record, write_record
from ditbench.registry import Registry
from ditbench.tracks.plan import make_plan

pytestmark = pytest.mark.timeout(300)
TIMES = {"seconds", "step_seconds", "images_per_second", "loading_seconds", "checkpoint_seconds", "evaluation_seconds",
         "batch_seconds", "decode_seconds", "created", "memory", "sha256", "resumed"}  # fmt: skip


def timeless(content):
    """A record, without what differs from run to run."""
    if isinstance(content, dict):
        return {name: timeless(value) for name, value in content.items() if name not in TIMES}
    return [timeless(value) for value in content] if isinstance(content, list) else content


def same(one, other):
    """Whether they are, but for times; a failure shows in what they are not."""
    assert timeless(one.model_dump(mode="json")) == timeless(other.model_dump(mode="json"))
    return True


def jobs_of(records, out, **more):
    """The same runs, to be done again in another folder."""
    return [Job(config_of(r), out / "tiny" / r.run_id, r.environment, **more) for r in records]


def settings(out, **more):
    return Settings(out / "tiny" / ".slurm", **more)


@pytest.fixture
def jobs(toy, tmp_path):
    """Two runs that have not begun."""
    plan = make_plan(Registry.installed(), "tiny", ["toy"], [0, 1], device="cpu")
    return [Job(config, tmp_path / "tiny" / config.run_id, ENVIRONMENT) for config in plan]


def until(true, seconds=120):
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def as_a_task(monkeypatch):
    """A function that does in this process what submitit does in the process of a task; its exit code."""
    signals = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in signals}

    def as_a_task(folder, task):
        monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
        monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", task)
        try:
            process_job(folder)
        except SystemExit as ended:
            return ended.code
        return 0

    yield as_a_task
    for number, handler in before.items():
        signal.signal(number, handler)


def pickled(folder, job, task="7"):
    """The run as submitit leaves it for a task."""
    folder.mkdir(parents=True, exist_ok=True)
    delayed = DelayedSubmission(SlurmTask(job))
    delayed.set_timeout(60, 3)
    delayed.dump(folder / f"{task}_submitted.pkl")


def time_is_up(job, process):
    """When the run trains, send its task what Slurm sends before the time limit."""

    def send():
        until((job.directory / "curve.jsonl").exists)
        os.kill(process(), signal.SIGUSR1)

    threading.Thread(target=send).start()


def test_the_same_records_as_any_executor_though_the_time_of_one_runs_out(toy, tmp_path, as_a_task, monkeypatch):
    """A plan of two by submitit's local executor. The work of its processes is done here, where the libraries are."""
    plain = run(tmp_path / "process", "toy", "toy+fault=slow")
    jobs, ears = jobs_of(plain, tmp_path / "slurm", fresh=True), Ears()
    how, processes, codes = settings(tmp_path / "slurm", cluster="local", wait=True), iter((7, 8)), []

    def queue(cluster, tasks):
        for task in sorted(tasks):
            codes.append(as_a_task(how.folder, task))
            while codes[-1] == LOCAL_REQUEUE_RETURN_CODE:
                codes.append(as_a_task(how.folder, task))
        return dict.fromkeys(tasks, "RUNNING")

    monkeypatch.setattr("submitit.local.local.start_controller", lambda **_: SimpleNamespace(pid=next(processes)))
    monkeypatch.setattr("ditbench.executors.slurm.states_or_unknown", queue)
    time_is_up(jobs[1], os.getpid)
    found = list(execute_on_slurm(jobs, ears, how))
    assert codes == [0, LOCAL_REQUEUE_RETURN_CODE, 0] and ears.begun == [job.config.label for job in jobs]
    assert [record.status for record in found] == ["finished"] * 2 and all(map(same, found, plain))
    assert [read_record(job.directory / "record.json") for job in jobs] == found
    assert [record.training.resumed for record in found] == [0, 1]  # though it was to start over
    assert (how.folder / "7_submitted.pkl").stat().st_size < 20_000


SQUEUE = """#!/bin/sh
[ -f {0}/queue ] || {{ echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }}
cat {0}/queue
"""


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Slurm's commands, as far as a test needs them: `sbatch` gives jobs 77, 78, ...; `squeue` prints a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {
        "srun": "#!/bin/sh\n",
        "sbatch": f"#!/bin/sh\necho >> {folder}/jobs\necho Submitted batch job $((76 + $(wc -l < {folder}/jobs)))\n",
        "squeue": SQUEUE.format(folder),
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("ditbench.executors.slurm.POLL", {"slurm": 0.05})
    monkeypatch.setattr("ditbench.executors.slurm.GRACE", {"slurm": 0.2})
    return folder


def queue(stand_ins, **tasks):
    (stand_ins / "queue").write_text("".join(f"{task[1:]} {state}\n" for task, state in tasks.items()))


def told(jobs, how):
    with pytest.raises(NoRecordsYet) as ended:
        list(execute_on_slurm(jobs, Silent(), how))
    return str(ended.value)


def test_a_dry_run_shows_the_script_that_sbatch_would_get(jobs, stand_ins, tmp_path):
    asked = {"partition": "gpu", "time_minutes": 240, "gpus": 1, "cpus": 8, "memory_gb": 32.0, "account": "vision",
             "constraint": "a100", "extra": {"qos": "long"}, "at_once": 1}  # fmt: skip
    shown = told(jobs, settings(tmp_path, dry_run=True, **asked))
    assert not (tmp_path / "tiny").exists()
    lines = set(shown.splitlines())
    assert lines > {
        "#!/bin/bash", "#SBATCH --array=0-1%1", "#SBATCH --requeue", "#SBATCH --signal=USR1@120",
        "#SBATCH --partition=gpu", "#SBATCH --time=240", "#SBATCH --gpus-per-node=1", "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=32768M", "#SBATCH --account=vision", "#SBATCH --constraint=a100", "#SBATCH --qos=long",
        "#SBATCH --job-name=ditbench-tiny", "#SBATCH --open-mode=append",
    }  # fmt: skip
    assert f"--cpus-per-task=8 {sys.executable} -u -m submitit.core._submit {tmp_path / 'tiny' / '.slurm'}" in shown
    told(jobs, settings(tmp_path, **asked))
    assert (tmp_path / "tiny" / ".slurm" / "77_submission.sh").read_text() == shown
    assert "--array" not in script(jobs[:1], settings(tmp_path))


def test_what_is_in_the_queue_is_not_submitted_again(jobs, stand_ins, tmp_path, ditbench):
    how, (one, other) = settings(tmp_path), jobs
    said = told(jobs, how)
    assert said.splitlines() == [
        "Submitted 2 runs: job 77.", f"  ditbench status {tmp_path / 'tiny'}", "  scancel 77",
        "The same command with `wait` waits for the records.",
    ]  # fmt: skip
    with pytest.raises(DitbenchError, match=r"queue can't be asked \(slurm_load_jobs error: Unable to contact"):
        list(execute_on_slurm(jobs, Silent(), how))
    queue(stand_ins, _77_0="RUNNING", _77_1="COMPLETED", _78="RUNNING")
    slurm_queue.refuse_queued([other])
    with pytest.raises(RunBusy, match=r"is Slurm's already \(77_0\)\. Wait for it or cancel it: scancel 77_0\."):
        slurm_queue.refuse_queued(jobs)
    with pytest.raises(RunBusy, match="with `force`, scancel 77_0 first"):
        list(execute_on_slurm([replace(one, fresh=True)], Silent(), how))
    assert told(jobs, how).startswith("Submitted 1 run (1 run had been before): job 77 78.")
    queue(stand_ins, _77_0="RUNNING", _78="PENDING")
    assert told(jobs, how).startswith("Submitted 0 runs (2 runs had been before): job 77 78.")
    assert told(jobs, settings(tmp_path, dry_run=True)).startswith("Slurm has all of these runs already")


def test_another_executor_refuses_what_the_queue_has(jobs, stand_ins, tmp_path, monkeypatch):
    monkeypatch.setattr(
        local.Here, "preflight", lambda engine, configs, hear: [Ready(one, ENVIRONMENT) for one in configs]
    )
    told(jobs, settings(tmp_path))
    queue(stand_ins, _77_0="RUNNING")
    with pytest.raises(RunBusy, match=r"is Slurm's already \(77_0\)"):
        campaign.run("tiny", ["toy"], [0], device="cpu", out=tmp_path)


def test_the_state_of_every_run(jobs, stand_ins, tmp_path, ditbench):
    told(jobs, settings(tmp_path))
    (one, other), folder = jobs, tmp_path / "tiny"
    known = {"run_id": other.config.run_id, "status": "interrupted", "reason": "stopped on request"}
    (folder / "by-hand").mkdir()
    (folder / "by-hand" / "log.txt").touch()
    queue(stand_ins, _77_0="RUNNING", _77_1="PENDING")

    def rows(place):
        return {row.pop("run"): list(row.values()) for row in json.loads(ditbench("status", str(place), "--json"))}

    by_hand = ["tiny", "", "", "waiting", ""]
    assert rows(folder) == rows(tmp_path) == {
        one.config.run_id: ["tiny", "77_0", "RUNNING", "none yet", ""],
        other.config.run_id: ["tiny", "77_1", "PENDING", "none yet", ""],
        "by-hand": by_hand,
    }  # fmt: skip
    other.directory.mkdir()
    write_record(unfinished().model_copy(update=known), other.directory / "record.json")
    queue(stand_ins, _77_0="NODE_FAIL")
    assert rows(folder) == {
        one.config.run_id: ["tiny", "77_0", "NODE_FAIL", "waiting", ""],
        other.config.run_id: ["tiny", "77_1", "", "interrupted", "stopped on request"],
        "by-hand": by_hand,
    }
    (stand_ins / "queue").unlink()
    assert rows(folder)[one.config.run_id] == ["tiny", "77_0", "unknown", "none yet", ""]
    assert "stopped on request" in ditbench("status", str(folder))
    assert "There are no runs in" in ditbench("status", str(tmp_path / "bin"), code=2)


def test_a_task_that_ends_without_a_word_has_a_record_that_says_so(jobs, stand_ins, tmp_path):
    queue(stand_ins, _77_0="OUT_OF_MEMORY")
    found = list(execute_on_slurm(jobs, Silent(), settings(tmp_path, wait=True)))
    assert [record.reason for record in found] == [
        "its Slurm task 77_0 ended without an answer (OUT_OF_MEMORY)",
        "its Slurm task 77_1 ended without an answer (gone from the queue)",
    ]
    assert [read_record(job.directory / "record.json") for job in jobs] == found


def test_ctrl_c_ends_the_waiting_and_says_how_to_end_the_runs(jobs, stand_ins, tmp_path):
    queue(stand_ins, _77_0="RUNNING", _77_1="RUNNING")

    class Press(Ears):
        def started(self, config):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(NoRecordsYet, match=r"(?s)^Stopped waiting; the runs go on: job 77\..*scancel 77\n") as ended:
        list(execute_on_slurm(jobs, Press(), settings(tmp_path, wait=True)))
    assert ended.value.interrupted


def test_a_refusal_of_sbatch_is_one_line(jobs, stand_ins, tmp_path):
    (stand_ins / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition\nspecified: gpu' >&2; exit 1\n"
    )
    with pytest.raises(DitbenchError, match=r"^Slurm took no job: sbatch: error: invalid partition specified: gpu$"):
        list(execute_on_slurm(jobs, Silent(), settings(tmp_path, partition="gpu")))
    assert not list((tmp_path / "tiny" / ".slurm").glob("*.jobs"))


def test_a_run_that_other_hardware_was_planned_for_fails_and_says_so(jobs, tmp_path, as_a_task):
    job = replace(jobs[0], config=jobs[0].config.model_copy(update={"hardware": "NVIDIA A100"}))
    pickled(tmp_path / "tiny" / ".slurm", job)
    assert as_a_task(tmp_path / "tiny" / ".slurm", "7") == 0
    record = read_record(job.directory / "record.json")
    assert record.status == "failed" and "was planned for NVIDIA A100, and Slurm gave " in record.reason


def test_a_run_belongs_to_one_task(tmp_path, stand_ins):
    queue(stand_ins, _7="RUNNING", _9_1="RUNNING")
    assert not slurm_queue.claim(tmp_path, "run", "slurm", "7")
    assert slurm_queue.claim(tmp_path, "run", "slurm", "7")
    with pytest.raises(RunBusy, match=r"'run' is Slurm's already \(7\)"):
        slurm_queue.claim(tmp_path, "run", "slurm", "9_1")
    queue(stand_ins, _7="TIMEOUT", _9_1="RUNNING")
    assert not slurm_queue.claim(tmp_path, "run", "slurm", "9_1")
    assert slurm_queue.claim(tmp_path, "run", "slurm", "9_1")
    assert sorted(path.name for path in tmp_path.glob("run*")) == ["run.claim-0", "run.claim-1"]


def test_of_tasks_that_claim_a_run_at_once_one_gets_it(tmp_path, stand_ins):
    queue(stand_ins, **{f"_{number}": "RUNNING" for number in range(8)})
    got = []

    def try_it(task):
        try:
            slurm_queue.claim(tmp_path, "run", "slurm", task)
            got.append(task)
        except RunBusy:
            pass

    threads = [threading.Thread(target=try_it, args=[str(number)]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and (tmp_path / "run.claim-0").read_text() == f"{got[0]}\n"


def test_what_can_not_be_is_one_line(jobs, tmp_path, monkeypatch):
    with pytest.raises(BadValue, match="A limit of 1 min leaves no 120 s to save a run in"):
        settings(tmp_path, time_minutes=1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DitbenchError, match="`executor` slurm finds no srun here"):
        list(execute_on_slurm(jobs, Silent(), settings(tmp_path)))
    for name in [name for name in sys.modules if name.partition(".")[0] == "submitit"]:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(
        DitbenchError, match=r"^`executor` slurm needs the extra: (uv )?pip install 'ditbench\[slurm\]'$"
    ):
        list(execute_on_slurm(jobs, Silent(), settings(tmp_path, dry_run=True)))


def test_submitit_is_imported_when_it_is_asked_for():
    code = "import sys, ditbench.executors.slurm, ditbench.cli; assert not {'torch', 'submitit'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_reaches_it(toy, ditbench, tmp_path):
    arguments = (
        "run",
        "--plugins",
        "toy",
        "--track",
        "tiny",
        "--seeds",
        "0,1",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    )
    slurm = ("--executor", "slurm", "--with", "partition=gpu", "--with", "time=60", "--with", "qos=long")
    said = ditbench(*arguments, *slurm, "--dry-run", "--quiet")
    assert said.startswith("#!/bin/bash")
    assert {"#SBATCH --partition=gpu", "#SBATCH --time=60", "#SBATCH --qos=long"} <= set(said.splitlines())
    told = json.loads(ditbench(*arguments, *slurm, "--dry-run", "--json"))
    assert (
        told["message"] in said and [(run["state"], run["record"]) for run in told["runs"]] == [("planned", None)] * 2
    )
    assert "--array=0-1" in said and not list(tmp_path.glob("tiny/*/record.json"))
    assert "'process' has no --wait" in ditbench(*arguments, "--wait", code=2)
    assert "'partition' is not KEY=VALUE" in ditbench(*arguments, "--executor", "slurm", "--with", "partition", code=2)
    assert "'soon' is no int" in ditbench(*arguments, "--executor", "slurm", "--with", "time=soon", code=2)
