"""Runs as tasks of Ray, on a Ray of this machine's own or on a cluster.

A task carries out one run on a node, in a process of its own as anywhere else (`ray_task.py`). What is lost with a node
or a worker is tried again, and goes on from the run's checkpoint.
"""

from __future__ import annotations

import os
import pkgutil
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import BadValue, DitbenchError, one_line
from ..records.record import Record
from ..runtime.processes import on_ctrl_c
from ..runtime.progress import Progress, ProgressCallback
from ..tracks.config import RunConfig
from . import ray_cluster, ray_task
from .engine import Listener, Ready, Wishes, options_of
from .jobs import Job, recorded, unfinished
from .local import Here
from .ray_cluster import Share
from .ray_task import Mailbox, Place

POLL = 0.3  # seconds between two looks at what the runs say
SAVE = 600.0  # seconds that runs have to save and stop, once asked to
_OPTIONS = {"gpus": int, "cpus": int, "memory": float, "retries": int, "accelerator": str}
_LOST = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")  # errors of Ray's that another try may not meet


class OnRay(Here):
    """The engine."""

    def __init__(self, wishes: Wishes) -> None:
        wishes.only("ray", "processes", "shard", "parallel", "address", "options")
        super().__init__(wishes)
        self._asked = _asked(wishes)
        ray_cluster.library()
        self._share = Share(cpus=0, gpus=0)
        self._leave: Callable[[], Any] = lambda: None

    def preflight(self, configs: Sequence[RunConfig], hear: ProgressCallback) -> list[Ready]:
        """See `Engine`: as a task, with what a run will get. This starts, or joins, Ray."""
        self._enter()
        self._share = self._share_of(configs[0].device)
        calls = _Calls(self._share, self.wishes)
        task = calls.submit(ray_task.answer_preflight, "check", list(configs), self.wishes.processes)
        with on_ctrl_c(lambda presses: calls.cancel([task], force=True)) as presses:
            while not calls.done([task]):
                for _, progress in calls.said():
                    if progress is not None:
                        hear(progress)
        if presses:
            raise KeyboardInterrupt
        answer = calls.answer(task)
        if isinstance(answer, DitbenchError):
            raise answer
        if isinstance(answer, Exception):
            raise DitbenchError(f"The check before the runs, a task of Ray's, gave no answer: {_in_words(answer)}.")
        parallel = 1 if self.wishes.address else self.wishes.parallel or 1
        return [replace(run, environment=run.environment.model_copy(update={"parallel": parallel})) for run in answer]

    def execute(self, jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
        """See `Engine`. Ctrl-C lets those at work save, then stops; the second kills them."""
        try:
            if jobs:
                yield from _Runs(jobs, listener, _Calls(self._share, self.wishes), self.wishes, self._asked).records()
        finally:
            self._leave()

    def _enter(self) -> None:
        """Ray, until the runs have ended or nobody wants this engine any more. What was joined before is not left."""
        if ray_cluster.library().is_initialized():
            return
        if self.wishes.address:
            ray_cluster.join(self.wishes.address)
        else:
            ray_cluster.start_here()
        self._leave = weakref.finalize(self, ray_cluster.library().shutdown)

    def _share_of(self, device: str) -> Share:
        """What each run gets: what was asked for, else a GPU for each process if the runs' device is one."""
        nodes = ray_cluster.nodes()
        on_gpu = device.startswith("cuda") or (device == "auto" and ray_cluster.have_gpus(nodes))
        gpus = self._asked.get("gpus", self.wishes.processes if on_gpu else 0)
        at_once = 1 if self.wishes.address else self.wishes.parallel or 1
        threads = os.environ.get("OMP_NUM_THREADS", "")
        ours = max(1, int(threads) // at_once) if threads.isdecimal() and not gpus else 0  # as other executors share
        cpus = self._asked.get("cpus", ours)
        memory = int(self._asked.get("memory", 0) * 2**30)
        share = Share(cpus, gpus, memory, self._asked.get("accelerator", ""))
        return ray_cluster.share_of(nodes, share, at_once)


def _asked(wishes: Wishes) -> dict[str, Any]:
    """The options; `BadValue` for what can't be."""
    asked = options_of(wishes, _OPTIONS)
    for name, least in {"gpus": 0, "cpus": 1, "memory": 0, "retries": 0}.items():
        if asked.get(name, least) < least:
            raise BadValue(f"`options` {name}={asked[name]}: it can't be less than {least}.")
    if 0 < asked.get("gpus", 0) < wishes.processes:
        raise BadValue(f"{wishes.processes} processes need a GPU each; gpus={asked['gpus']} are too few.")
    return asked


class _Calls:
    """Tasks as Ray has them: submitted, waited for, cancelled, and heard of."""

    def __init__(self, share: Share, wishes: Wishes) -> None:
        self._ray, self._share = ray_cluster.library(), share
        self._place = Place(Path.cwd(), wishes.folder.absolute())
        self._together = wishes.processes > 1 or share.gpus > 1
        ours = {name: value for name, value in os.environ.items() if name.startswith("DITBENCH_")}
        self._environment = {"env_vars": {**ours, "OMP_NUM_THREADS": str(share.cpus)}}
        self._groups: dict[Any, Any] = {}
        self._mailbox = self._here(self._ray.remote(num_cpus=0)(Mailbox)).remote()
        self._unread: Any = None

    def submit(self, function: Callable[..., Any], name: str, *arguments: Any) -> Any:
        """The task of a function of `ray_task`, with a run's share of a node."""
        options = {**self._share.options, "runtime_env": self._environment, "max_retries": 0, "name": name}
        group = self._group() if self._together else None
        if group is not None:
            strategy = pkgutil.resolve_name("ray.util.scheduling_strategies:PlacementGroupSchedulingStrategy")
            options["scheduling_strategy"] = strategy(group)
        task = self._ray.remote(**options)(function).remote(self._place, *arguments, self._mailbox)
        self._groups[task] = group
        return task

    def done(self, tasks: Sequence[Any]) -> list[Any]:
        """Those that have ended, after a moment's wait."""
        ended, _ = self._ray.wait(list(tasks), num_returns=1, timeout=POLL)
        return list(ended)

    def answer(self, task: Any) -> Any:
        """What a task that has ended returned, or Ray's error."""
        group = self._groups.pop(task, None)
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return error
        finally:
            if group is not None:
                pkgutil.resolve_name("ray.util.placement_group:remove_placement_group")(group)

    def cancel(self, tasks: Sequence[Any], force: bool = False) -> None:
        """Ctrl-C to the tasks; with `force`, their processes are killed."""
        for task in tasks:
            self._ray.cancel(task, force=force)

    def said(self) -> list[tuple[str, Progress | None]]:
        """What the tasks have said meanwhile; nothing while Ray can't tell."""
        if self._unread is None:
            self._unread = self._mailbox.read.remote()
        if not self._ray.wait([self._unread], timeout=POLL)[0]:
            return []
        unread, self._unread = self._unread, None
        try:
            return self._ray.get(unread)  # type: ignore[no-any-return]
        except self._ray.exceptions.RayError:  # the mailbox's node is lost: a display, no result
            return []

    def _group(self) -> Any:
        """All of a run on one node."""
        make = pkgutil.resolve_name("ray.util.placement_group:placement_group")
        return make([self._share.bundle], strategy="STRICT_PACK")

    def _here(self, actor: Any) -> Any:
        """On this command's node, which is lost with it."""
        strategy = pkgutil.resolve_name("ray.util.scheduling_strategies:NodeAffinitySchedulingStrategy")
        node = self._ray.get_runtime_context().get_node_id()
        return actor.options(scheduling_strategy=strategy(node, soft=True), max_restarts=-1)


@dataclass
class _Try:
    """A run whose task waits, or runs."""

    job: Job
    number: int = 0  # tries before
    begun: bool = False  # it has said so, in this try or before


@dataclass
class _Runs:
    """The runs of a command until they have ended."""

    jobs: Sequence[Job]
    listener: Listener
    calls: _Calls
    wishes: Wishes
    asked: dict[str, Any]
    going: dict[Any, _Try] = field(default_factory=dict)  # by task
    announced: set[str] = field(default_factory=set)
    faults: list[DitbenchError] = field(default_factory=list)
    until: float | None = None  # when runs that were asked to stop are killed

    def records(self) -> Iterator[Record]:
        """One per run as they end. `KeyboardInterrupt` after Ctrl-C, once those that had begun have theirs."""
        waiting = deque(_Try(replace(job, directory=job.directory.absolute())) for job in self.jobs)
        with on_ctrl_c(lambda presses: None) as presses:
            while self.going or (waiting and not presses):
                self._submit(waiting, presses)
                self._stop(len(presses))
                ended = self.calls.done(list(self.going)) if self.going else []
                self._pass_on()
                for task in ended:
                    yield from self._ended(task, waiting, bool(presses))
        if presses:
            raise KeyboardInterrupt
        if self.faults:
            raise self.faults[0]

    def _submit(self, waiting: deque[_Try], presses: Sequence[int]) -> None:
        """As many as may run at a time; without a limit Ray has them all, and knows when there is room."""
        while waiting and not presses and (not self.wishes.parallel or len(self.going) < self.wishes.parallel):
            one = waiting.popleft()
            job = replace(one.job, fresh=one.job.fresh and not one.begun)  # what was lost after it began goes on
            task = self.calls.submit(ray_task.carry_out, job.config.run_id, job, one.number > 0)
            self.going[task] = one

    def _stop(self, presses: int) -> None:
        """Ask the runs once to save and stop; from the second press on, until they are killed."""
        if presses and self.until is None:
            self.until = time.monotonic() + SAVE
            self.calls.cancel(list(self.going))
        elif self.until is not None:
            late = time.monotonic() > self.until
            if late or presses > 1:  # two that are a moment apart count as one in a task, so it is told again
                self.calls.cancel(list(self.going), force=late)

    def _pass_on(self) -> None:
        """Tell the listener what the runs have said."""
        at_work = {one.job.config.run_id: one for one in self.going.values()}
        for run, progress in self.calls.said():
            one = at_work.get(run)
            if one is None:
                continue
            self._announce(one.job.config)
            if progress is not None:
                one.begun = True
                self.listener.progress(one.job.config, progress)

    def _announce(self, config: RunConfig) -> None:
        if config.run_id not in self.announced:
            self.announced.add(config.run_id)
            self.listener.started(config)

    def _ended(self, task: Any, waiting: deque[_Try], stopping: bool) -> Iterator[Record]:
        """The record of a run whose task has ended; none yet if it is tried again, or was cancelled in the queue."""
        one, answer = self.going.pop(task), self.calls.answer(task)
        lost = type(answer).__name__ in _LOST
        if lost and not stopping and one.number < self.asked.get("retries", 3):
            one.number += 1
            waiting.appendleft(one)
        elif not (type(answer).__name__ == "TaskCancelledError" and one.job.config.run_id not in self.announced):
            self._announce(one.job.config)
            yield answer if isinstance(answer, Record) else self._without_record(one.job, answer)

    def _without_record(self, job: Job, answer: Exception) -> Record:
        """A task answered with a mistake, or not at all: the run's record says so, unless it is settled."""
        if isinstance(answer, DitbenchError):
            self.faults.append(answer)
        kept = job.settled()
        if kept is not None:
            return kept
        reason = f"its Ray task ended without an answer: {_in_words(answer)}"
        return recorded(job, unfinished(job, "interrupted", reason))


def _in_words(error: Exception) -> str:
    """Ray's error in one line, without its advice; of what a task raised, that."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {one_line(cause)[:200]}"
