"""Runs as the tasks of one Slurm array job, by submitit: an extra, imported when it is asked for.

A task is this Python on another machine, so plugins and code reach it as they are installed here: the environment, the
runs' folder and the data must lie where all nodes see them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import BadValue, DitbenchError, NoRecordsYet, RunBusy, one_line
from ..records.record import Record
from ..runtime.inheritance import clean
from ..runtime.progress import ProgressCallback
from ..storage.claims import sole_writer
from ..storage.files import make_writable
from ..tracks.config import RunConfig
from .engine import Listener, Ready, Wishes, options_of
from .jobs import Job, recorded, unfinished
from .local import preflight
from .slurm_queue import FOLDER, Cluster, in_queue, is_alive, remember, states_or_unknown
from .slurm_task import SAVE, SlurmTask, answer_preflight, library

REQUEUES = 1000  # times that submitit puts a task back whose time was up
POLL = {"slurm": 10.0, "local": 0.2}  # seconds between two looks at the queue
GRACE = {"slurm": 60.0, "local": 2.0}  # seconds for a result to be seen here, after its task has left the queue


@dataclass(frozen=True)
class Settings:
    """What is asked of Slurm for each run, and of this command."""

    folder: Path  # <out>/<track>/.slurm: submitit's logs, on storage that all nodes share
    partition: str = ""  # empty here and below: the cluster's default
    time_minutes: int = 1440  # of one task; a run that needs more comes back as often as it takes
    gpus: int = 0
    cpus: int = 0
    memory_gb: float = 0.0
    account: str = ""
    constraint: str = ""  # name one model of GPU where a partition has several: it is part of a run's identity
    extra: Mapping[str, str] = field(default_factory=dict)  # any other option of sbatch, without its dashes
    at_once: int = 256  # tasks of the array
    save_seconds: int = 120  # before the time limit
    dry_run: bool = False
    wait: bool = False
    cluster: Cluster | None = None  # None: slurm

    def __post_init__(self) -> None:
        if not 0 < self.save_seconds < self.time_minutes * 60:
            raise BadValue(f"A limit of {self.time_minutes} min leaves no {self.save_seconds} s to save a run in.")


_FIELDS = {"partition": str, "time": int, "gpus": int, "cpus": int, "memory": float, "account": str, "constraint": str}
_NAMES = {"time": "time_minutes", "memory": "memory_gb"}


def settings_of(wishes: Wishes) -> Settings:
    """Settings from ``KEY=VALUE``: those of `_FIELDS`, time in minutes and memory in GB, and any other of sbatch's."""
    found = options_of(wishes, _FIELDS, free=True)
    known = {_NAMES.get(key, key): found.pop(key) for key in _FIELDS if key in found}
    if 0 < known.get("gpus", 0) < wishes.processes:
        raise BadValue(f"{wishes.processes} processes need a GPU each; gpus={known['gpus']} are too few.")
    if wishes.parallel:
        known["at_once"] = wishes.parallel
    return Settings(wishes.folder / FOLDER, extra=found, wait=wishes.wait, dry_run=wishes.dry_run, **known)


class Slurm:
    """The engine of a cluster that Slurm manages."""

    waits_for_others = True  # for what the queue has already

    def __init__(self, wishes: Wishes) -> None:
        wishes.only("slurm", "processes", "shard", "parallel", "options", "wait", "dry_run")
        self.processes, self.settings = wishes.processes, settings_of(wishes)

    def preflight(self, configs: Sequence[RunConfig], hear: ProgressCallback) -> list[Ready]:
        """See `Engine`: on a node, or here if nothing is to be submitted."""
        if self.settings.dry_run:
            return preflight(configs, hear, self.processes)
        return preflight_on_slurm(configs, self.settings, self.processes)

    def execute(self, jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
        """See `Engine`."""
        return execute_on_slurm(jobs, listener, self.settings)


def execute_on_slurm(jobs: Sequence[Job], listener: Listener, settings: Settings) -> Iterator[Record]:
    """Hand the runs to Slurm as one array job, and with `wait` yield their records as the tasks end.

    Otherwise, and for a dry run, it ends in `NoRecordsYet`. A run that the queue has already is not submitted again;
    it is waited for. Ctrl-C ends the waiting, not the runs.
    """
    if not jobs:
        return
    library()
    if settings.dry_run:
        raise NoRecordsYet(script(_not_among(in_queue(settings.folder), jobs), settings))
    make_writable(settings.folder, claimed=True)
    with sole_writer(settings.folder):
        queued = in_queue(settings.folder)
        new = _not_among(queued, jobs)
        tasks = queued | _submit(new, settings)
    mine = {job.config.run_id: tasks[job.config.run_id] for job in jobs}
    if not settings.wait:
        raise NoRecordsYet(_told(f"Submitted {_runs(len(new))}", len(jobs) - len(new), mine, settings))
    try:
        yield from _records(jobs, mine, listener, settings)
    except KeyboardInterrupt:
        told = _told("Stopped waiting; the runs go on", 0, mine, settings)
        raise NoRecordsYet(told, interrupted=True) from None


def script(jobs: Sequence[Job], settings: Settings) -> str:
    """The script that sbatch would get, as submitit writes it. It takes no Slurm to see it."""
    if not jobs:
        raise NoRecordsYet("Slurm has all of these runs already; there is nothing to submit.")
    slurm = library().SlurmExecutor
    anywhere = type(slurm.__name__, (slurm,), {"affinity": classmethod(lambda cls: 1)})
    executor = anywhere(settings.folder)
    executor.update_parameters(**_for_sbatch(jobs[0].config.track.name, settings))
    if len(jobs) > 1:
        executor.parameters["map_count"] = len(jobs)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def preflight_on_slurm(configs: Sequence[RunConfig], settings: Settings, processes: int = 1) -> list[Ready]:
    """`local.preflight` on a machine that the runs will get, since a login node has other hardware: one short job.

    It is waited for, however long the queue is.
    """
    make_writable(settings.folder, claimed=True)
    with _outside_of_a_job(), _told_in_one_line():
        task = _executor(configs[0].track.name, settings).submit(answer_preflight, configs, processes)
    for _, state in _ends([task.job_id], settings):
        if not _result(settings.folder, task.job_id).exists():
            raise DitbenchError(f"The check before the runs, Slurm's job {task.job_id}, gave no answer ({state}).")
    answer: list[Ready] | DitbenchError = task.result()
    if isinstance(answer, DitbenchError):
        raise answer
    return answer


def _not_among(queued: Mapping[str, str], jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are to be submitted. `RunBusy` if one that the queue has should start over."""
    for job in jobs:
        if job.fresh and job.config.run_id in queued:
            task = queued[job.config.run_id]
            raise RunBusy(f"{job.config.run_id!r} is Slurm's already ({task}); with `force`, scancel {task} first.")
    return [job for job in jobs if job.config.run_id not in queued]


def _submit(jobs: Sequence[Job], settings: Settings) -> dict[str, str]:
    """The task of each run; all of them are one array job."""
    if not jobs:
        return {}
    with _outside_of_a_job(), _told_in_one_line():
        executor = _executor(jobs[0].config.track.name, settings)
        there = [replace(job, directory=job.directory.absolute()) for job in jobs]
        submitted = executor.submit_array([SlurmTask(job) for job in there])
    tasks = {job.config.run_id: task.job_id for job, task in zip(jobs, submitted, strict=True)}
    remember(settings.folder, settings.cluster or "slurm", tasks)
    return tasks


def _executor(track: str, settings: Settings) -> Any:
    submitit = library()
    if settings.cluster == "local":
        executor = submitit.LocalExecutor(settings.folder, max_num_timeout=REQUEUES)
        executor.update_parameters(
            timeout_min=settings.time_minutes, gpus_per_node=settings.gpus, signal_delay_s=settings.save_seconds
        )
        return executor
    if shutil.which("srun") is None:
        raise DitbenchError("`executor` slurm finds no srun here. Submit where Slurm is; `dry_run` works anywhere.")
    executor = submitit.SlurmExecutor(settings.folder, max_num_timeout=REQUEUES)
    executor.update_parameters(**_for_sbatch(track, settings))
    return executor


def _for_sbatch(track: str, settings: Settings) -> dict[str, Any]:
    """What is asked for, in submitit's words; what is not asked for is left to the cluster."""
    options = {**settings.extra, "requeue": True, "signal": f"{SAVE.name[3:]}@{settings.save_seconds}"}
    asked = {
        "job_name": f"ditbench-{track}",
        "partition": settings.partition,
        "time": settings.time_minutes,
        "ntasks_per_node": 1,
        "gpus_per_node": settings.gpus,
        "cpus_per_task": settings.cpus,
        "mem": f"{round(settings.memory_gb * 1024)}M" if settings.memory_gb else "",
        "account": settings.account,
        "constraint": settings.constraint,
        "array_parallelism": settings.at_once,
        "srun_args": [f"--cpus-per-task={settings.cpus}"] if settings.cpus else [],  # srun 22.05 no longer inherits it
        "additional_parameters": options,
    }
    return {**{name: value for name, value in asked.items() if value}, "wckey": None}


def _records(jobs: Sequence[Job], tasks: Mapping[str, str], listener: Listener, settings: Settings) -> Iterator[Record]:
    """Each run's record when its task has ended, whatever happened to it."""
    by_task = {tasks[job.config.run_id]: job for job in jobs}
    faults: list[DitbenchError] = []
    for task, state in _ends(by_task, settings, lambda task: listener.started(by_task[task].config)):
        yield _ending(by_task[task], task, state, settings, faults)
    if faults:
        raise faults[0]


def _ends(
    tasks: Collection[str], settings: Settings, begins: Callable[[str], None] = lambda task: None
) -> Iterator[tuple[str, str | None]]:
    """Each task when it has ended, with the queue's last word on it; `begins` hears of those that start."""
    cluster = settings.cluster or "slurm"
    waiting, begun, left = set(tasks), set[str](), dict[str, float]()  # left: when a task was not in the queue any more
    while waiting:
        queue, now = states_or_unknown(cluster, waiting), time.monotonic()
        for task in sorted(waiting):
            state = queue.get(task)
            if state == "RUNNING" and task not in begun:
                begun.add(task)
                begins(task)
            if is_alive(state):
                left.pop(task, None)
            elif now - left.setdefault(task, now) > GRACE[cluster]:
                waiting.discard(task)
            if _result(settings.folder, task).exists():
                waiting.discard(task)
            if task not in waiting:
                yield task, state
        time.sleep(POLL[cluster] if waiting else 0)


def _result(folder: Path, task: str) -> Path:
    path: Path = library().SlurmJob(folder, task).paths.result_pickle
    list(folder.iterdir())  # or NFS may go on saying that a new file is not there
    return path


def _ending(job: Job, task: str, state: str | None, settings: Settings, faults: list[DitbenchError]) -> Record:
    """What the task answered, or a record that says that it ended without an answer."""
    reason = f"its Slurm task {task} ended without an answer ({state or 'gone from the queue'})"
    if _result(settings.folder, task).exists():
        try:
            answer = library().SlurmJob(settings.folder, task).result()
        except Exception as error:  # submitit's, around the traceback of what the task raised
            lines = [line for line in str(error).splitlines() if "Error" in line]
            reason = f"its Slurm task {task} failed: {lines[-1] if lines else type(error).__name__}"
        else:
            if isinstance(answer, Record):
                return answer
            faults.append(answer)
    kept = job.settled()
    if kept is not None:
        return kept
    return recorded(job, unfinished(job, "interrupted", reason))


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """What sbatch refuses is the user's to mend."""
    try:
        yield
    except DitbenchError:
        raise
    except (RuntimeError, ValueError) as error:  # submitit's errors are RuntimeErrors
        raise DitbenchError(f"Slurm took no job: {one_line(error)}") from None


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Where this command is itself a job, what Slurm told that job must not rule the ones it submits.

    Nor are tasks to look for modules where we stand.
    """
    inside = "SLURM_JOB_ID" in os.environ
    hidden: AbstractContextManager[None] = library().helpers.clean_env() if inside else nullcontext()
    configuration = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with hidden, clean():
        os.environ.update(configuration)
        yield


def _told(what: str, queued: int, tasks: Mapping[str, str], settings: Settings) -> str:
    """What has been done, and how to go on from here."""
    parents = " ".join(dict.fromkeys(task.partition("_")[0] for task in tasks.values()))
    before = f" ({_runs(queued)} had been before)" if queued else ""
    cancel = "kill" if settings.cluster == "local" else "scancel"
    return (
        f"{what}{before}: job {parents}.\n"
        f"  ditbench status {shlex.quote(str(settings.folder.parent))}\n"
        f"  {cancel} {parents}\n"
        "The same command with `wait` waits for the records."
    )


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"
