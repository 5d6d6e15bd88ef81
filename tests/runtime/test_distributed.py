"""Several processes do as one does: the same batches, times and noise, losses and weights, the same features."""

import numpy as np
import pytest
import torch
from photos import crops
from worlds import extracted, sampled, spawned, trained

from ditbench.runtime.distributed import World

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")  # Dynamo hides it, but from -W error
JOBS = [
    {"steps": 60},
    {"steps": 20, "network": "two"},
    {"steps": 20, "micro_batch": 4},
    {"steps": 20, "clip_norm": 0.1},
    {"steps": 10, "data": "latents"},
    {"steps": 10, "batch_size": 15},  # shares of 7 and 8
    {"steps": 5, "compiles": True},
    {"steps": 20, "sharded": True},
    {"steps": 5, "sharded": True, "batch_size": 15, "micro_batch": 1},  # as many passes on 7 images as on 8
    {"steps": 10, "sharded": True, "micro_batch": 4, "clip_norm": 0.1},
    {"steps": 3, "network": "dit", "compile": "blocks"},
    {"steps": 10, "network": "dit", "sharded": True, "compile": "blocks"},
]


IMAGES = [(2,), (10,), (17,), (17, np.array([0, 5, 6, 16]))]  # in batches of 4: fewer than processes, a short last one
HALVES = {
    "copies": {"steps": 5, "budget": 10},
    "shards": {"steps": 5, "budget": 10, "sharded": True, "pinned": True},
    "adan": {"steps": 5, "budget": 10, "sharded": True, "optimizer": "adan", "betas": (0.98, 0.92, 0.99)},
}


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """A folder with checkpoints of one process after half of a training."""
    folder = tmp_path_factory.mktemp("halves")
    for name, job in HALVES.items():
        trained(**job, folder=folder, kept=f"{name}-one")
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory, halves):
    """What one process finds, and what each of two; these take up one's checkpoints, too, and leave theirs."""
    folder = tmp_path_factory.mktemp("world")
    jobs = [{**job, "folder": folder} for job in JOBS]
    alone = [trained(**job) for job in jobs]
    for where in ("one", "two"):
        jobs += [{**job, "folder": halves, "kept": f"{name}-{where}"} for name, job in HALVES.items()]
    np.save(folder / "images.npy", crops(17, 16, seed=0))
    return alone, *spawned(2, folder, jobs, IMAGES), folder


@pytest.mark.parametrize("number", range(len(JOBS)), ids=[str(job) for job in JOBS])
def test_the_losses_and_the_weights_are_one_processs(found, number):
    alone, of_ranks, *_ = found
    losses, weights, _, graphs = alone[number]
    for rank in of_ranks:
        assert rank[number][0] == pytest.approx(losses, rel=1e-5)
        assert rank[number][3] == graphs == 3 * ("compile" in JOBS[number])  # all blocks; x_t; the loss
        for name, tensor in weights.items():
            torch.testing.assert_close(rank[number][1][name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", HALVES)
def test_saved_on_two_and_taken_up_on_one_and_the_reverse(found, halves, name):
    whole = trained(**{**HALVES[name], "steps": 10})
    on_one = trained(**HALVES[name], folder=halves, kept=f"{name}-two")
    on_two = [of_rank[len(JOBS) + list(HALVES).index(name)] for of_rank in found[1]]
    for losses, weights, *_ in (on_one, *on_two):
        assert losses == pytest.approx(whole[0][5:], rel=1e-5)
        for tensor, expected in zip(weights.values(), whole[1].values(), strict=True):
            torch.testing.assert_close(tensor, expected, rtol=1e-3, atol=1e-5)
    parts = {where: sorted(halves.glob(f"{name}-{where}/checkpoints/*")) for where in ("one", "two")}
    assert {where: [len(list(path.glob("*.safetensors"))) for path in found] for where, found in parts.items()} == {
        "one": [1, 2],  # the last one of each is of the others
        "two": [2, 1],
    }
    noted = (parts["one"][-1] / "SHA256SUMS").read_text()
    assert all(path.name in noted for path in parts["one"][-1].glob("*.safetensors"))


def test_all_processes_have_one_clock_and_the_same_weights(found):
    _, (first, second), *_ = found
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


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_features_and_moments_are_one_processs_to_the_bit(found, size):
    *_, features, folder = found
    main, *others = features if size == 2 else spawned(3, folder, [], IMAGES)[2]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = [extracted(folder, *job) for job in IMAGES]
    torch.set_num_threads(threads)
    for place, (count, outputs, moments, _) in enumerate(alone):
        assert main[place][0] == count and main[place][1].keys() == outputs.keys()
        assert all(torch.equal(main[place][1][name], rows) for name, rows in outputs.items())
        assert main[place][2].keys() == moments.keys() == {"features", "spatial"}
        for name, (images, mean, covariance) in moments.items():
            assert main[place][2][name][0] == images == count
            assert torch.equal(main[place][2][name][1], mean) and torch.equal(main[place][2][name][2], covariance)
        assert all(other[place][:3] == (count, {}, {}) for other in others)
    read = [[found[place][3] for found in (main, *others)] for place in range(len(IMAGES))]
    assert read == {2: [[2, 0], [6, 4], [9, 8], [9, 8]], 3: [[2, 0, 0], [4, 4, 2], [8, 5, 4], [8, 5, 4]]}[size]
