"""Runs under torchrun, on one node or many: each of its processes is a rank of every run, in turn.

The command is that of rank 0: it plans, listens and writes the tables. The other processes follow it, by messages in
torchrun's own store. A run is, as anywhere else, a clean process of each rank: one that fails is a row, and the next
begins. Imports no torch until there is a run.
"""

from __future__ import annotations

import os
import pickle
import pkgutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from ..errors import BadValue, DitbenchError
from ..records.facts import Work
from ..records.files import FILE_NAME
from ..records.record import Record, read_record
from ..runtime.processes import WorkerProcess, ended, stop_on_signals
from ..runtime.progress import Progress, ProgressCallback, Watch
from ..storage.files import make_folder
from ..tracks.config import RunConfig
from .apart import FILE, forked, found_in, hang_up
from .engine import Listener, Ready, Wishes
from .jobs import LOG_FILE, PRELOAD, RESTARTS, Hands, Job, carry_out, write_failure
from .local import Here, InProcess, outcome, preflight, redirect_output, reporter

NAME = "torchrun"
_LOOK = 0.5  # seconds between two looks for an order
_PATIENCE = 10.0  # seconds for torchrun's store to answer: it is there before the processes are
_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")  # of torchrun's variables
_UNSET = "Start it by torchrun, or unset TORCHELASTIC_RUN_ID."
_ORDERS = count()  # of this process: rank 0 gives as many as each of the others takes


@dataclass(frozen=True)
class _Order:
    """What rank 0 tells the others: the next run, or that there is none."""

    number: int
    job: Job | None


def launched() -> bool:
    """Whether this process is one of torchrun's."""
    return {"TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def follows() -> bool:
    """Whether it is not the one that gives orders."""
    return launched() and os.environ["RANK"] != "0"


def instead_of(executor: str) -> str:
    """Where the runs of a command happen that torchrun started; `BadValue` if it should be elsewhere.

    `DitbenchError` if the variables say so, but no torchrun is there, as in a shell that one of its processes left.
    """
    _knock()
    if executor not in ("process", NAME):
        raise BadValue(f"The executor {executor!r} is not for processes of torchrun; start it without.")
    return NAME


def _knock() -> None:
    """Find torchrun's store, which torch itself would wait for, for a day, deaf to signals."""
    told = {name: os.environ.get(name, "") for name in _NUMBERS}
    wrong = next((name for name, value in told.items() if not value.isdecimal()), None)
    if wrong is not None:
        raise BadValue(f"{wrong} is {told[wrong]!r}, no number, though torchrun's other variables are set. {_UNSET}")
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # rank 0 opens the store itself, later
        return
    place, deadline = (os.environ["MASTER_ADDR"], int(told["MASTER_PORT"])), time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(place, _PATIENCE).close()
            return
        except (OSError, OverflowError, UnicodeError) as error:
            if time.monotonic() > deadline or not isinstance(error, (ConnectionRefusedError, TimeoutError)):
                raise DitbenchError(
                    f"The environment says that torchrun started this, and none answers at {place[0]}:{place[1]} "
                    f"({error}). {_UNSET}"
                ) from None
        time.sleep(_LOOK)


class Torchrun(Here):
    """The engine of rank 0. Ctrl-C, and the signal by which torchrun ends its processes, lets the run save."""

    def __init__(self, wishes: Wishes) -> None:
        if not launched():
            raise BadValue("The executor 'torchrun' is for processes of torchrun: torchrun ... -m ditbench run ...")
        wishes.only(NAME, "shard")
        super().__init__(replace(wishes, processes=int(os.environ["WORLD_SIZE"])))

    def preflight(self, configs: Sequence[RunConfig], hear: ProgressCallback) -> list[Ready]:
        """See `Engine`; on this node, whose like the others are taken to be."""
        _end_as_by_ctrl_c()
        found = preflight(configs, hear, int(os.environ["LOCAL_WORLD_SIZE"]))
        least, processes = min(config.recipe.batch_size for config in configs), self.wishes.processes
        if processes > least:
            raise BadValue(f"{processes} processes can't share batches of {least} images; start fewer by torchrun.")
        return [replace(run, environment=run.environment.model_copy(update={"processes": processes})) for run in found]

    def execute(self, jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
        """See `Engine`."""
        try:
            for job in jobs:
                yield from self._together(job, listener) if job.settled() is None else self._alone(job, listener)
        finally:
            self._order(None)

    def _alone(self, job: Job, listener: Listener) -> Iterator[Record]:
        """What is asked of a finished run takes no others."""
        return InProcess(Wishes(job.directory.parent, parallel=1)).execute([job], listener)

    def _together(self, job: Job, listener: Listener) -> Iterator[Record]:
        listener.started(job.config)
        for attempt in range(RESTARTS + 1):
            order = self._order(replace(job, fresh=job.fresh and not attempt))
            worker, blame = _obey(order, lambda progress: listener.progress(job.config, progress))
            if worker.interrupted or blame is None or not blame.killed:
                break
        failed = blame is not None and worker.fault is None  # `RunBusy`: the row is told, not written
        if failed:
            write_failure(job, blame.reason)
        yield read_record(job.directory / FILE_NAME) if failed else outcome(job, worker, [])
        if worker.interrupted:
            raise KeyboardInterrupt

    def _order(self, job: Job | None) -> _Order:
        """Tell the others."""
        order = _Order(next(_ORDERS), job)
        _seat().store().set(_key(order.number, "order"), pickle.dumps(order))
        return order


def follow() -> None:
    """Carry out, with the others, what rank 0 says, until it says that this is all."""
    _end_as_by_ctrl_c()
    store = _seat().store()
    while (order := _next_order(store, next(_ORDERS))).job is not None:
        worker, _ = _obey(order, lambda progress: None)
        if worker.interrupted:
            raise KeyboardInterrupt


def _next_order(store: Any, number: int) -> _Order:
    while not store.check([_key(number, "order")]):
        time.sleep(_LOOK)  # waited for by the store, signals would wait, too
    order: _Order = pickle.loads(store.get(_key(number, "order")))  # from rank 0, whose code this is
    return order


def _obey(order: _Order, hear: ProgressCallback) -> tuple[WorkerProcess, Any]:
    """Carry out one's part of a run; the process that has done so, and the `Blame` for its end, if there is any."""
    seat = replace(_seat(), attempt=_key(order.number, "world"), blame=_key(order.number, "blame"))
    said: list[Progress] = []

    def note(progress: Progress) -> None:
        said.append(progress)
        hear(progress)

    worker = WorkerProcess(_serve, (order.job, seat), note, preload=PRELOAD)
    with suppress(KeyboardInterrupt):  # the worker says that, too
        list(ended([worker]))
    store = seat.store()
    if worker.exitcode or (seat.rank and not said):  # what it has said itself stays
        killed = (worker.exitcode or 0) < 0
        seat.accuse(store, f"{'killed ' if killed else ''}rank {seat.rank}: {worker.how_it_ended}", killed)
    return worker, seat.untold(store)


def _serve(outbox: Connection, task: tuple[Job, Any]) -> None:
    """In the run's own process, which ends when the run does, though it may wait for another.

    Rank 0's has a process forked that takes part, as those of the others do by themselves, and measures afterwards.
    """
    job, seat = task
    make_folder(job.directory)
    if seat.rank:
        pkgutil.resolve_name("ditbench.executors.ranks:take_part")(job, seat, outbox)
        outbox.send(Progress("sample", 1.0))  # or its network ended it before
        return
    stopping = stop_on_signals()
    redirect_output(job.directory / LOG_FILE)
    carry_out(job, Watch(reporter(outbox, stopping), lambda: bool(stopping)), Hands(partial(_take_part, seat)))


def _take_part(seat: Any, job: Job, work: Any, watch: Watch) -> Work | None:
    """See `Hands.work`. A process that died takes this one with it, so that all are started again."""
    code = forked(_serve_seat, (job, seat), job.directory, watch)
    if code and not (job.directory / FILE).exists():
        if code < 0:
            os.kill(os.getpid(), -code if -code != signal.SIGINT else signal.SIGKILL)
        os._exit(code)
    return found_in(job.directory, code).taken().work


def _serve_seat(task: tuple[Job, Any], directory: Path, outbox: Connection) -> None:
    pkgutil.resolve_name("ditbench.executors.ranks:take_part")(*task, outbox)
    hang_up(outbox)


def _seat() -> Any:
    """This process's `Seat`, at torchrun's store."""
    return pkgutil.resolve_name("ditbench.executors.rendezvous:Seat").of_environment("")


def _key(number: int, what: str) -> str:
    """A name in the store, which outlives a restart of torchrun's processes."""
    return f"ditbench/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{number}/{what}"


def _end_as_by_ctrl_c() -> None:
    def react(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, react)
