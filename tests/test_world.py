"""Several processes train as one does: the same batches, times and noise, the same losses, the same weights."""

import pytest
import torch
import torch.multiprocessing
from worlds import together, trained

JOBS = [
    {"steps": 200},
    {"steps": 20, "network": "two"},
    {"steps": 20, "micro_batch": 4},
    {"steps": 20, "clip_norm": 0.1},
    {"steps": 10, "data": "latents"},
    {"steps": 10, "batch_size": 15},  # shares of 7 and 8
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process finds, and what each of two."""
    folder = tmp_path_factory.mktemp("world")
    jobs = [{**job, "folder": folder} for job in JOBS]
    alone = [trained(**job) for job in jobs]
    torch.multiprocessing.spawn(together, (2, str(folder), jobs), nprocs=2)
    return alone, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("number", range(len(JOBS)), ids=[str(job) for job in JOBS])
def test_the_losses_and_the_weights_are_one_processs(found, number):
    alone, of_ranks = found
    losses, weights, _ = alone[number]
    for rank in of_ranks:
        assert rank[number][0] == pytest.approx(losses, rel=1e-5)
        for name, tensor in weights.items():
            torch.testing.assert_close(rank[number][1][name], tensor, rtol=1e-3, atol=1e-5)


def test_all_processes_have_one_clock_and_the_same_weights(found):
    _, (first, second) = found
    for one, other in zip(first, second, strict=True):
        assert one[0] == other[0] and one[2] == other[2]
        assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])
