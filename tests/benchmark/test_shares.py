"""What of the machine a run is given: small ones a thread and neighbours, the others all of it."""

from types import SimpleNamespace

import pytest
import torch
from records import ENVIRONMENT

from ditbench.benchmark import shares
from ditbench.registry import Registry
from ditbench.tracks.plan import make_plan
from ditbench.tracks.threads import ONE_THREAD
from ditbench.training.fitting import Needs

GIB = 2**30
BATCH = 16  # of the track "tiny"


@pytest.fixture
def share_of(toy, monkeypatch):
    """A function: (threads, parallel, cores) of two small runs and a large one, on a machine of eight cores."""
    monkeypatch.setattr(shares, "describe", lambda device: ENVIRONMENT.model_copy(update={"cores": 8, "threads": 8}))
    monkeypatch.setattr(shares, "processors", lambda: list(range(8)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    free = SimpleNamespace(memory=64 * GIB, quota=8)
    monkeypatch.setattr(shares, "available", lambda: free.memory)
    monkeypatch.setattr(shares, "quota", lambda: free.quota)
    small, large = Needs(GIB, 0, ONE_THREAD // BATCH - 1), Needs(GIB, 0, ONE_THREAD // BATCH)

    def found(memory=64, quota=8, processes=1, parallel=None, budget=None, large=large):
        free.memory, free.quota = memory * GIB, quota
        registry = Registry.installed()
        plan = make_plan(registry, "tiny", ["toy", "toy+depth=2"], [0, 1], device="cpu", budget=budget)[:3]
        needs = {plan[0].label: small, plan[2].label: large}
        given = shares.shares(plan, needs, torch.device("cpu"), processes, parallel)
        return [(one.threads, one.parallel, one.cores) for one in given]

    return found


def test_small_runs_have_one_thread_and_go_side_by_side_as_far_as_there_is_room(share_of):
    assert share_of() == [(1, 2, 4), (1, 2, 4), (8, 1, 8)]
    assert share_of(memory=3) == share_of(quota=1) == [(1, 1, 8), (1, 1, 8), (8, 1, 8)]


def test_what_nobody_could_count_is_not_small(share_of):
    assert share_of(large=None)[2] == (8, 1, 8)


def test_a_budget_of_time_is_spent_alone(share_of):
    assert share_of(budget="10s") == [(1, 1, 8), (1, 1, 8), (8, 1, 8)]


def test_who_says_how_many_gets_as_many(share_of):
    assert share_of(parallel=3, budget="10s") == [(1, 3, 2), (1, 3, 2), (8, 3, 2)]
    assert share_of(parallel=1)[0] == (1, 1, 8)


def test_processes_of_one_run_share_all_threads(share_of):
    assert share_of(processes=2) == [(8, 1, 8)] * 3
