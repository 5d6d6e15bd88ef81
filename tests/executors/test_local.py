"""Several runs at a time on this machine: each has a process, a slot and an end of its own."""

import multiprocessing.forkserver
import os
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest
import threadpoolctl
import torch
from records import ENVIRONMENT
from test_campaign import Ears, run

from ditbench.errors import BadValue
from ditbench.executors import remote
from ditbench.executors.engine import Wishes
from ditbench.executors.jobs import PRELOAD, Job
from ditbench.executors.local import InProcess
from ditbench.records.record import read_runs
from ditbench.registry import Registry
from ditbench.runtime.affinity import Slot, processors
from ditbench.runtime.processes import answer_of
from ditbench.tracks.plan import make_plan

pytestmark = pytest.mark.timeout(240)
SLOW = ("toy+fault=slow", "toy+fault=slow+depth=2")
UNMEASURED = {"parallel": 2, "data": "synthetic", "budget": "24-steps"}  # to measure takes longer than to train


@pytest.fixture(scope="module")
def threads():
    """How many a run alone has; of fewer than two there would be none to divide, so that the server is another then."""
    if os.environ.get("OMP_NUM_THREADS") != "1" and len(processors()) > 1:
        yield answer_of(_serve_threads, None, preload=remote.PRELOAD)
        return
    restart = multiprocessing.forkserver._forkserver._stop
    restart()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        yield answer_of(_serve_threads, None, preload=remote.PRELOAD)  # what all need: see one_server_for_all
    restart()


def _serve_threads(outbox, task):
    outbox.send(torch.get_num_threads())


class Both(Ears):
    """Holds the first run that speaks until a second one does, so that they meet on any machine; then calls `act`."""

    def __init__(self, act=lambda: None):
        super().__init__(self._note)
        self.act, self.spoke, self.affinities = act, [], {}

    def _note(self, config, progress):
        new, self.spoke = config.run_id not in self.spoke, [*self.spoke, config.run_id]
        if new and len(self.spoke) == 1:
            at_work()[config.run_id].suspend()
        elif new:
            at_work()[self.spoke[0]].resume()
            self.affinities = {run_id: set(process.cpu_affinity()) for run_id, process in at_work().items()}
            self.act()


def at_work():
    """The runs' processes, which write their logs, by the runs' directories."""
    children = [p for p in psutil.Process().children(recursive=True) if p.status() != "zombie"]
    logs = [(file.path, p) for p in children for file in p.open_files() if file.path.endswith("log.txt")]
    return {Path(path).parent.name: process for path, process in logs}


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_two_at_a_time_are_what_they_are_one_after_the_other(toy, threads, tmp_path):
    ears = Both()
    few, two = {"budget": "16-steps"}, 2 if len(processors()) == 1 else None
    together = run(tmp_path / "together", *SLOW, parallel=two, listener=ears, **few)
    one, other = dict.fromkeys(ears.spoke)
    assert one in ears.spoke[ears.spoke.index(other) :]
    first, second = ears.affinities.values()
    assert (len(first), len(second)) == ((len(processors()) // 2 or 1,) * 2)
    assert not first & second or len(processors()) == 1
    in_turn = [run(tmp_path / "in-turn", name, parallel=2, **few)[0] for name in SLOW]
    for record, alone in zip(together, in_turn, strict=True):
        assert record.status == "finished" and record.run_id == alone.run_id
        assert record.environment == alone.environment
        assert (record.environment.threads, record.environment.cores) == (1, len(first))
        assert record.hardware.endswith(", 1 thread") and record.environment.beside_others
        assert [point.loss for point in record.training.curve] == [point.loss for point in alone.training.curve]
        assert record.sampling.images_sha256 == alone.sampling.images_sha256
        assert [m.value for m in record.metrics] == [m.value for m in alone.metrics]


def test_those_that_go_side_by_side_come_first_and_of_them_the_longest():
    """Two at a time, then those that go alone in the order in which they were asked for."""
    alone, beside = (ENVIRONMENT.model_copy(update={"parallel": number}) for number in (1, 2))
    plan = make_plan(Registry.installed(), "digits", ["dit:nano"], list(range(5)), device="cpu")
    given = zip(plan, (alone, beside, beside, alone, beside), (9, 1, 3, 99, 2), strict=True)
    jobs = [Job(config, Path("nowhere"), environment, macs=macs) for config, environment, macs in given]
    grouped = [(n, [job.macs for job in some]) for n, some in InProcess(Wishes(Path("nowhere")))._groups(jobs)]
    assert grouped == [(2, [3, 2, 1]), (1, [9, 99])]
    ((_, explicit),) = InProcess(Wishes(Path("nowhere"), parallel=3))._groups(jobs)
    assert [job.macs for job in explicit] == [99, 9, 3, 2, 1]


def test_ctrl_c_saves_both_and_both_go_on(toy, threads, tmp_path):
    ears = Both(press)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *SLOW, "toy", **UNMEASURED, listener=ears)
    assert not at_work() and len(ears.begun) == 2
    records = read_runs(tmp_path / "tiny")
    assert [record.status for record in records] == ["interrupted"] * 2
    again = run(tmp_path, *SLOW, **UNMEASURED)
    assert [(record.status, record.training.resumed) for record in again] == [("finished", 1)] * 2


def test_ctrl_c_again_kills_both(toy, threads, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *SLOW, **UNMEASURED, listener=Both(lambda: (press(), press())))
    assert not at_work()
    assert [record.reason for record in read_runs(tmp_path / "tiny")] == ["killed by SIGKILL"] * 2


def test_both_are_asked_to_save_when_the_command_breaks(toy, threads, tmp_path):
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, *SLOW, **UNMEASURED, listener=Both(lambda: 1 / 0))
    assert not at_work()
    assert [record.status for record in read_runs(tmp_path / "tiny")] == ["interrupted"] * 2


def test_a_killed_run_leaves_the_other_alone(toy, threads, tmp_path):
    killed = []

    def kill():
        killed.append(ears.spoke[0])
        at_work()[killed[0]].kill()

    ears = Both(kill)
    records = {record.run_id: record for record in run(tmp_path, *SLOW, **UNMEASURED, listener=ears)}
    assert records.pop(killed[0]).reason == "killed by SIGKILL"
    (other,) = records.values()
    assert other.status == "finished" and other.training.resumed == 0


def test_every_end_is_its_runs_alone_and_makes_room_for_the_next(toy, threads, tmp_path):
    names = ("toy+fault=slow", "toy+fault=raise", "toy+fault=kill", "toy")
    records = run(tmp_path, *names, **UNMEASURED)
    assert [record.status for record in records] == ["finished", "failed", "interrupted", "finished"]
    assert records[1].reason == "RuntimeError: the toy broke, as ordered" and records[2].reason == "killed by SIGKILL"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"parallel": 1000}, "1000 runs at a time need a thread each, and torch has {}; give a smaller `parallel`"),
        ({"parallel": 0}, "`parallel` 0: choose from 1 to 10,000"),
        ({"parallel": 2, "executor": "inline"}, "'inline' has no `parallel`"),
    ],
)
def test_what_can_not_be_is_told_first(toy, threads, tmp_path, options, told):
    with pytest.raises(BadValue, match=told.format(threads)):
        run(tmp_path, "toy", **options)
    assert not list(tmp_path.rglob("record.json"))


def _serve_slot(outbox, task):
    slot, on_gpu = task
    os.environ["CUDA_VISIBLE_DEVICES"] = "4,5,6"
    slot.take(on_gpu, processes=1, threads=1)
    pools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    threads = torch.get_num_threads(), *sorted(pools)
    outbox.send((threads, os.sched_getaffinity(0), os.environ["CUDA_VISIBLE_DEVICES"]))


def _serve_variable(outbox, name):
    outbox.send(os.environ[name])


def test_a_process_takes_its_slot(threads):
    """Cores on a CPU, GPUs otherwise, and its threads on both; the only slot is the machine, of a CPU with its threads.

    OpenMP's wait for each other but briefly.
    """
    mine = os.sched_getaffinity(0)
    in_slot = partial(answer_of, _serve_slot, preload=PRELOAD)
    assert in_slot((Slot(1, 2), False)) == ((1, 1), set(Slot(1, 2).cores(processors())), "4,5,6")
    assert in_slot((Slot(1, 2), True)) == ((1, 1), mine, "5")
    (of_torch, *_), cores, gpus = in_slot((Slot(), True))
    assert (of_torch, cores, gpus) == (threads, mine, "4,5,6")
    assert in_slot((Slot(), False)) == ((1, 1), mine, "4,5,6")
    assert answer_of(_serve_variable, "GOMP_SPINCOUNT", preload=PRELOAD) == os.environ.get("GOMP_SPINCOUNT", "1000")
