"""Several processes train as one does: the same batches, times and noise, the same losses, the same weights."""

import pytest
import torch
import torch.multiprocessing
from worlds import sampled, together, trained

from ditbench.world import World

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
    both = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    return alone, [training for training, _ in both], [images for _, images in both]


@pytest.mark.parametrize("number", range(len(JOBS)), ids=[str(job) for job in JOBS])
def test_the_losses_and_the_weights_are_one_processs(found, number):
    alone, of_ranks, _ = found
    losses, weights, _ = alone[number]
    for rank in of_ranks:
        assert rank[number][0] == pytest.approx(losses, rel=1e-5)
        for name, tensor in weights.items():
            torch.testing.assert_close(rank[number][1][name], tensor, rtol=1e-3, atol=1e-5)


def test_all_processes_have_one_clock_and_the_same_weights(found):
    _, (first, second), _ = found
    for one, other in zip(first, second, strict=True):
        assert one[0] == other[0] and one[2] == other[2]
        assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


def test_samples_are_one_processs_and_their_noise_is_to_the_bit(found):
    pixels, labels, noises = sampled()
    for of_rank in found[2]:
        for ours, theirs in zip(pixels, of_rank[0], strict=True):
            assert (ours.int() - theirs.int()).abs().max() <= 1
        assert all(map(torch.equal, labels, of_rank[1])) and all(map(torch.equal, noises, of_rank[2]))


def test_a_process_without_a_part_of_a_batch_gets_it_whole():
    assert [World(rank, 3).share(2) for rank in range(3)] == [slice(0, 0), slice(0, 1), slice(1, 2)]
