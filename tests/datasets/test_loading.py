"""The feed: every example once per epoch, the same batches wherever the data lies, and errors that arrive."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from ditbench.datasets import loading
from ditbench.datasets.examples import AutoencoderFacts, Data, Examples, from_arrays
from ditbench.datasets.loading import Feed, Order
from ditbench.datasets.pixels import to_bytes
from ditbench.datasets.shards import ShardedRows
from ditbench.errors import BadFile, BadValue
from ditbench.runtime.distributed import share
from ditbench.tracks.track import DataChoice

CPU = torch.device("cpu")
COUNT = 30


def choice(**changes):
    return DataChoice(dataset="made", resolution=8, **changes)


def images():
    """Every pixel tells its image and its column."""
    pixels = np.arange(COUNT, dtype=np.uint8)[:, None, None, None] * 8 + np.arange(8, dtype=np.uint8)
    return from_arrays(
        "made", np.ascontiguousarray(np.broadcast_to(pixels, (COUNT, 1, 8, 8))), np.arange(COUNT) % 3, ("a", "b", "c")
    )


HALVES = AutoencoderFacts(name="halves", sha256="0" * 64, scale=0.5, factor=8, channels=4)


def latents(views=2, rows=None):
    """The mean of row r is r everywhere, its standard deviation 1/8."""
    if rows is None:
        rows = np.full((COUNT * views, 2, 4, 8, 8), 0.125, np.float16)
        rows[:, 0] = np.arange(COUNT * views)[:, None, None, None]
    return Data(
        "made", "0" * 64, Examples(rows, np.arange(COUNT) % 3, views), ("a", "b", "c"), None, autoencoder=HALVES
    )


def mapped(data, folder):
    """The same data, memory-mapped and not writable."""
    np.save(folder / "rows.npy", data.examples.rows)
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    return Data(
        data.name,
        data.sha256,
        Examples(rows, data.examples.labels, data.examples.views),
        data.class_names,
        None,
        autoencoder=data.autoencoder,
    )


def batches(feed, count=7, steps=9, start=0):
    draw = torch.Generator()
    found = []
    for step in range(start, steps):
        found.append(feed.batch(step * count, count, draw.manual_seed(step)))
    feed.close()
    return found


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for mine, yours in zip(one, other, strict=True) for a, b in zip(mine, yours, strict=True)
    )


def test_every_example_comes_once_per_epoch_from_any_position():
    order = Order(10, seed=3)
    stream = np.concatenate([order.batch(start, 7)[0] for start in range(0, 70, 7)])
    for epoch in range(7):
        assert sorted(stream[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert np.array_equal(Order(10, seed=3).batch(23, 30)[0], stream[23:53])
    assert not np.array_equal(Order(10, seed=4).batch(0, 10)[0], stream[:10])
    assert not np.array_equal(stream[:10], stream[10:20])


def test_half_of_the_visits_are_mirrored_in_the_same_order():
    plain, mirrored = Order(1000, seed=0), Order(1000, seed=0, mirrored=True)
    examples, bits = mirrored.batch(500, 2000)
    assert np.array_equal(examples, plain.batch(500, 2000)[0]) and not plain.batch(500, 2000)[1].any()
    assert set(bits) == {0, 1} and bits.mean() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(mirrored.batch(700, 10)[1], bits[200:210])  # after another epoch was dealt
    assert not np.array_equal(bits[:500], bits[1000:1500])
    assert not np.array_equal(bits[:500], Order(1000, seed=1, mirrored=True).batch(500, 500)[1])


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [3, 8, 25])
def test_processes_share_a_batch_without_loss_or_repetition(processes, count):
    whole = batches(Feed(latents(), choice(flip=True), 0, CPU), count)
    parts = [batches(Feed(latents(), choice(flip=True), 0, CPU, rank, processes), count) for rank in range(processes)]
    assert same(
        [tuple(torch.cat(pieces) for pieces in zip(*step, strict=True)) for step in zip(*parts, strict=True)], whole
    )
    sizes = [len(range(count)[share(count, rank, processes)]) for rank in range(processes)]
    assert sum(sizes) == count and max(sizes) - min(sizes) <= 1


def test_pixels_come_with_their_labels_and_half_of_them_mirrored():
    ((x0, y),) = batches(Feed(images(), choice(flip=True), 0, CPU), COUNT, 1)
    assert x0.dtype == torch.float32 and x0.shape == (COUNT, 1, 8, 8) and y.dtype == torch.int64
    row = to_bytes(x0)[:, 0, 0].long()
    mirrored = row[:, 0] > row[:, -1]
    straight = torch.where(mirrored[:, None], row.flip(1), row)
    numbers = straight[:, 0] // 8
    assert torch.equal(straight, numbers[:, None] * 8 + torch.arange(8))
    assert sorted(numbers.tolist()) == list(range(COUNT)) and torch.equal(y, numbers % 3)
    assert 5 < mirrored.sum() < 25
    ((plain, _),) = batches(Feed(images(), choice(), 0, CPU), COUNT, 1)
    assert torch.equal(to_bytes(plain)[:, 0, 0].long(), straight)


def test_mirrored_latents_are_rows_of_their_own():
    order = Order(COUNT, 0, mirrored=True).batch(0, COUNT)
    ((x0, y),) = batches(Feed(latents(), choice(flip=True, posterior="mean"), 0, CPU), COUNT, 1)
    assert torch.equal(x0[:, 0, 0, 0], 0.5 * torch.from_numpy(2 * order[0] + order[1]))
    assert torch.equal(y, torch.from_numpy(order[0] % 3))
    ((x0, _),) = batches(Feed(latents(), choice(posterior="mean"), 0, CPU), COUNT, 1)
    assert torch.equal(x0[:, 0, 0, 0], torch.from_numpy(order[0]).float())  # 0.5 * (2 i)


def test_without_noise_the_means_alone_are_read_and_held(tmp_path, monkeypatch):
    expected = batches(Feed(latents(), choice(posterior="mean"), 0, CPU))
    disk = mapped(latents(), tmp_path)
    sharded = replace(disk, examples=replace(disk.examples, rows=ShardedRows([disk.examples.rows])))
    feeds = [Feed(data, choice(posterior="mean"), 0, CPU) for data in (disk, sharded)]
    monkeypatch.setattr(loading, "_fits", lambda *_: True)
    feeds.append(Feed(sharded, choice(posterior="mean"), 0, CPU))
    assert [feed.where for feed in feeds] == ["streamed", "streamed", "device"]
    assert feeds[2]._held.shape == (COUNT, *latents().examples.shape)
    for feed in feeds:
        assert same(batches(feed), expected)
        feed.close()


def test_posteriors_are_drawn_anew_at_each_visit():
    feed = Feed(latents(views=1), choice(), 0, CPU)
    draw = torch.Generator().manual_seed(5)
    x0, _ = feed.batch(0, COUNT, draw)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(5))
    mean = torch.from_numpy(feed.order.batch(0, COUNT)[0]).float()[:, None, None, None]
    assert torch.equal(x0, 0.5 * (mean + 0.125 * noise))
    assert not torch.equal(feed.batch(0, COUNT, draw)[0], x0)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("make", [images, latents])
def test_batches_are_the_same_bits_wherever_the_data_lies(tmp_path, monkeypatch, make, flip):
    whole = Feed(make(), choice(flip=flip), 0, CPU)
    disk = mapped(make(), tmp_path)
    streamed = Feed(disk, choice(flip=flip), 0, CPU)
    monkeypatch.setattr(loading, "_fits", lambda *_: True)  # as on a GPU with room
    monkeypatch.setattr(loading, "CHUNK_BYTES", 1000)
    copied = Feed(disk, choice(flip=flip), 0, CPU)
    assert [feed.where for feed in (whole, streamed, copied)] == ["device", "streamed", "device"]
    expected = batches(whole)
    assert same(batches(streamed), expected) and same(batches(copied), expected)
    assert same(batches(Feed(disk, choice(flip=flip), 0, CPU), start=4), expected[4:])  # resumed


def test_streamed_batches_may_be_asked_for_out_of_turn(tmp_path):
    feed, other = Feed(mapped(images(), tmp_path), choice(), 0, CPU), Feed(images(), choice(), 0, CPU)
    for position, count in ((0, 4), (4, 4), (4, 4), (100, 4), (104, 6), (0, 4)):
        assert same([feed.batch(position, count, torch.Generator())], [other.batch(position, count, torch.Generator())])
    feed.close()


def test_threads_start_with_the_first_batch_and_end_at_the_close(tmp_path):
    def readers():
        return [thread for thread in threading.enumerate() if thread.name.startswith("ditbench-feed")]

    feed = Feed(mapped(images(), tmp_path), choice(), 0, CPU)
    assert not readers()
    feed.batch(0, 4, torch.Generator())
    assert readers()
    feed.close()
    assert not readers()


def test_what_goes_wrong_while_reading_ahead_reaches_the_batch():
    class Torn:
        shape, dtype = (COUNT, 1, 8, 8), np.dtype(np.uint8)

        def __getitem__(self, rows):
            if 7 in rows:
                raise BadFile("The shard 'rows-3' is torn.")
            return np.zeros((len(rows), 1, 8, 8), np.uint8)

    feed = Feed(Data("torn", "", Examples(Torn(), np.zeros(COUNT, np.int64)), (), None), choice(), 0, CPU)
    at = int(np.flatnonzero(feed.order.batch(0, COUNT)[0] == 7)[0]) // 5
    for step in range(at):
        feed.batch(5 * step, 5, torch.Generator())
    for _ in range(2):
        with pytest.raises(BadFile, match="rows-3"):
            feed.batch(5 * at, 5, torch.Generator())
    feed.close()


def test_latents_without_mirrored_copies_can_not_be_mirrored():
    with pytest.raises(BadValue, match="'made' have no mirrored copies"):
        Feed(latents(views=1), choice(flip=True), 0, CPU)


def test_a_gpu_holds_what_takes_less_than_its_share_of_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 80_000))
    cuda, rows = torch.device("cuda"), np.zeros((100, 1, 8, 8), np.uint8)
    assert not loading._fits(rows, 1, cuda) and loading._fits(rows, 2, cuda) and loading._fits(rows[:93], 1, cuda)
