"""One conversion between floats and bytes, exact at the edges."""

import torch

from ditbench.datasets.pixels import from_bytes, to_bytes


def test_every_byte_survives_the_round_trip():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(from_bytes(every)), every)


def test_the_edges_and_beyond():
    x = torch.tensor([-9.0, -1.0, -1 + 0.9 / 255, -1 + 1.1 / 255, 0.0, 1.0, 9.0])
    assert to_bytes(x).tolist() == [0, 0, 0, 1, 128, 255, 255]
