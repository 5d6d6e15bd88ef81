"""KID's estimator for many subsets of two sets at once: their features meet once, however often they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_ROWS = 1000  # of a kernel matrix at a time: 8,000 bytes for each image of the other set
Places = npt.NDArray[np.int64]


def squared_mmd(fake: Tensor, real: Tensor) -> float:
    """Of `fake` (n, F) and `real` (n, F): unbiased, with KID's cubic kernel, in float64."""
    every = np.arange(len(fake))
    return squared_mmds(fake, real, [(every, every)])[0]


def squared_mmds(fake: Tensor, real: Tensor, subsets: Sequence[tuple[Places, Places]]) -> list[float]:
    """The same of each pair of subsets, by their places in `fake` (n, F) and `real` (m, F).

    All subsets are of one size. A sum of the kernel over a subset is one over all, with weights of 0 and 1.
    """
    of_fake = _members([places for places, _ in subsets], fake)
    of_real = _members([places for _, places in subsets], real)
    size = len(subsets[0][0])
    fake, real = fake.double(), real.double()
    within = _sums(fake, fake, of_fake, of_fake) - of_fake @ _with_itself(fake)
    within += _sums(real, real, of_real, of_real) - of_real @ _with_itself(real)
    between = _sums(fake, real, of_fake, of_real)
    found: list[float] = (within / (size * (size - 1)) - 2 * between / size**2).tolist()
    return found


def _members(subsets: Sequence[Places], of: Tensor) -> Tensor:
    """1 where a subset has a row of it, else 0: (subsets, n)."""
    members = torch.zeros(len(subsets), len(of), dtype=torch.float64)
    for row, places in zip(members, subsets, strict=True):
        row[torch.from_numpy(places)] = 1
    return members.to(of.device)


def _sums(one: Tensor, other: Tensor, of_one: Tensor, of_other: Tensor) -> Tensor:
    """The kernel summed over all pairs of each subset: (subsets,)."""
    parts = zip(torch.split(one, _ROWS), torch.split(of_one, _ROWS, dim=1), strict=True)
    sums = [((members @ _kernel(rows @ other.T, one)) * of_other).sum(1) for rows, members in parts]
    return torch.stack(sums).sum(0)


def _with_itself(rows: Tensor) -> Tensor:
    return _kernel(rows.square().sum(1), rows)


def _kernel(products: Tensor, features: Tensor) -> Tensor:
    return (products / features.shape[1] + 1) ** 3
