"""Precision's and recall's counts, on any device (Kynkäänniemi et al., 2019).

The steps are torch-fidelity's, which brings all distances to the CPU: there the counts are the same, to the last one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..records.metric_constants import NEIGHBOURS
from ..runtime.precision import products

ROWS = 1000  # of distances at a time: 4,000 bytes per image of the other set, which change no number


def within_each_other(fake: Tensor, real: Tensor) -> tuple[int, int]:
    """How many of `fake` (n, F) lie within the manifold of `real` (m, F), and how many of `real` in that of `fake`."""
    with products("float32"):
        return _within(fake, real), _within(real, fake)


def _within(points: Tensor, others: Tensor) -> int:
    """A manifold is the union of balls around its images, each up to the third neighbour."""
    nearest = NEIGHBOURS + 1  # the first is the image itself
    radii = torch.cat([_distances(part, others).kthvalue(nearest).values for part in torch.split(others, ROWS)])
    counts = [int((_distances(part, others) <= radii).any(1).sum()) for part in torch.split(points, ROWS)]
    return sum(counts)


def _distances(some: Tensor, all_of_them: Tensor) -> Tensor:
    """Of each to each."""
    return torch.cat([torch.cdist(some, part) for part in torch.split(all_of_them, ROWS)], dim=1)
