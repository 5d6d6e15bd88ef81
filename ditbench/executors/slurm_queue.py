"""What was handed to Slurm, as the runs' folder remembers it, and what the queue says of it. Needs no submitit.

Nothing here trusts a lock: files appear whole, by a rename or a hard link, which every shared file system keeps.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import psutil
from pydantic import Field

from ..errors import BadFile, DitbenchError, RunBusy, one_line
from ..records.files import FILE_NAME
from ..records.record import left_out, read_record
from ..storage.claims import CLAIMS
from ..storage.files import check_folder, exists, write_text
from ..storage.reading import read_text
from ..storage.schema import Frozen, Name, read_checked
from .jobs import LOG_FILE, Job

FOLDER = ".slurm"  # in a track's folder of runs
SUFFIX = ".jobs"  # no .json: what reads records below a folder leaves it alone
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip  # all other states may still lead to a run
UNKNOWN = "unknown"  # the queue could not be asked

Cluster = Literal["slurm", "local"]  # local: submitit's processes on this machine
TaskId = Annotated[str, Field(pattern=r"^[0-9]+(_[0-9]+)?$")]


class SlurmSubmission(Frozen):
    """Runs that were submitted together, and the task of each."""

    submitted: datetime
    cluster: Cluster
    tasks: dict[Name, TaskId]


@dataclass(frozen=True)
class Standing:
    """Where a run stands: in the queue, and by its record."""

    track: str
    run: str
    task: str  # empty: it was not submitted to Slurm
    queue: str  # empty: the queue knows nothing of it
    record: str  # its status; "none yet", or "waiting" if it is in no queue either
    reason: str


def remember(folder: Path, cluster: Cluster, tasks: Mapping[str, str]) -> None:
    """Note which task carries out which run."""
    submission = SlurmSubmission(submitted=datetime.now(UTC), cluster=cluster, tasks=dict(tasks))
    first = next(iter(tasks.values())).partition("_")[0]
    write_text(folder / f"{first}{SUFFIX}", submission.model_dump_json(indent=1) + "\n")


def remembered(folder: Path) -> list[SlurmSubmission]:
    """All submissions, the oldest first."""
    found = [read_checked(SlurmSubmission, path, kind="submission") for path in folder.glob(f"*{SUFFIX}")]
    return sorted(found, key=lambda submission: submission.submitted)


def states(cluster: Cluster, tasks: Collection[str]) -> dict[str, str]:
    """The state of every task that the queue knows; a `DitbenchError` if it can't be asked."""
    if cluster == "local":
        return {task: "RUNNING" for task in tasks if _runs_here(int(task))}
    jobs = ",".join(sorted({task.partition("_")[0] for task in tasks}))
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--jobs={jobs}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False) if jobs else None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DitbenchError(f"Slurm's queue can't be asked ({one_line(error)}).") from None
    if answer is None or "Invalid job id" in answer.stderr:  # so long ago that Slurm has forgotten it
        return {}
    if answer.returncode:
        raise DitbenchError(f"Slurm's queue can't be asked ({one_line(answer.stderr)}).")
    known = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if " " in line.strip())
    return {task: known[task] for task in tasks if task in known}


def states_or_unknown(cluster: Cluster, tasks: Collection[str]) -> dict[str, str]:
    """The same, for those who can bear that the queue can't be asked just now."""
    try:
        return states(cluster, tasks)
    except DitbenchError:
        return dict.fromkeys(tasks, UNKNOWN)


def is_alive(state: str | None) -> bool:
    """Whether a task in this state runs, or may run yet; None: the queue does not know it."""
    return state is not None and state not in ENDED


def in_queue(folder: Path) -> dict[str, str]:
    """The task of every run that runs, or waits for its turn. `DitbenchError` if the queue can't be asked."""
    found: dict[str, str] = {}
    for submission in remembered(folder):
        known = states(submission.cluster, submission.tasks.values())
        found |= {run: task for run, task in submission.tasks.items() if is_alive(known.get(task))}
    return found


def refuse_queued(jobs: Sequence[Job]) -> None:
    """`RunBusy` if Slurm has one of these runs: it is not for another executor to carry out."""
    for folder in {job.directory.parent / FOLDER for job in jobs}:
        queued = in_queue(folder)
        for job in jobs:
            if job.directory.parent == folder.parent and job.config.run_id in queued:
                raise RunBusy(_busy(job.config.run_id, queued[job.config.run_id]))


def claim(folder: Path, run: str, cluster: Cluster, task: str) -> bool:
    """Make the run this task's own, or raise `RunBusy`; whether it was before, so that the task has come back to it.

    Each claim on a run is a file of the next number, and a number is given once. What an ended task held is free.
    """
    claims = sorted(folder.glob(f"{run}.claim-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    holder = read_text(claims[-1], "claim").strip() if claims else ""
    if holder == task:
        return True
    if holder and is_alive(states(cluster, [holder]).get(holder)):
        raise RunBusy(_busy(run, holder))
    mine = folder / f".{run}.{task}.tmp"
    write_text(mine, task + "\n")
    try:
        os.link(mine, folder / f"{run}.claim-{len(claims)}")
    except FileExistsError:
        raise RunBusy(_busy(run, "another task")) from None
    finally:
        mine.unlink()
    return False


def standings(folder: Path, leave_out: Callable[[str], object] = lambda told: None) -> list[Standing]:
    """Every run of a track's folder, or of a folder of such. `DitbenchError` if there is none.

    Where a record can't be read, the run is left out, and `leave_out` hears a line that names it.
    """
    check_folder(folder)
    folders = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    damaged: list[str] = []
    found = [standing for each in folders for standing in _standings_of(each, damaged.append)]
    for told in damaged:
        leave_out(told)
    if not found and not damaged:
        raise DitbenchError(f"There are no runs in {str(folder)!r}.")
    return found


def _standings_of(folder: Path, leave_out: Callable[[str], object]) -> Iterator[Standing]:
    tasks: dict[str, str] = {}
    queue: dict[str, str] = {}
    for submission in remembered(folder / FOLDER):
        if submission.cluster == "slurm":
            tasks |= submission.tasks
            queue |= states_or_unknown("slurm", submission.tasks.values())
    runs = {path.name for path in folder.glob("*") if _is_run(path)}
    for run in sorted(runs | {*tasks}):
        try:
            yield _standing(folder, run, tasks.get(run, ""), queue.get(tasks.get(run, ""), ""))
        except BadFile as error:
            leave_out(left_out(folder / run / FILE_NAME, error))


def _standing(folder: Path, run: str, task: str, state: str) -> Standing:
    path = folder / run / FILE_NAME
    if exists(path):
        record = read_record(path)
        return Standing(folder.absolute().name, run, task, state, record.status, record.reason or "")
    waits = not state or state in ENDED
    return Standing(folder.absolute().name, run, task, state, "waiting" if waits else "none yet", "")


def _is_run(path: Path) -> bool:
    return path.name != FOLDER and any(exists(path / name) for name in (FILE_NAME, LOG_FILE, CLAIMS))


def _runs_here(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _busy(run: str, task: str) -> str:
    way_out = f" or cancel it: scancel {task}" if task[0].isdigit() else ""
    return f"The run {run!r} is Slurm's already ({task}). Wait for it{way_out}."
