"""Power-function averages of weights, and how others are made of them (Karras et al., 2024, arXiv 2312.02696).

At time t the average of exponent gamma weighs the weights of time tau in [0, t] by (gamma + 1) tau^gamma / t^(gamma+1).
The standard deviation of tau in this profile, as a share of t, is its relative length. Time is a share of the budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Numbers = npt.NDArray[np.float64]


class Profile(NamedTuple):
    """What a power-function average is of: its relative length, and the time that it was taken at, in (0, 1]."""

    length: float
    at: float


class Combination(NamedTuple):
    """One average as a sum of others."""

    factors: tuple[float, ...]  # they sum to 1
    error: float  # the distance of the two profiles as functions of time, as a share of the norm of the one asked for


@cache
def exponent(length: float) -> float:
    """Gamma of a relative length in (0, 0.288): the largest root of (g + 2)^2 (g + 3) = (g + 1) / length^2."""
    square = length**-2
    return float(np.roots([1, 7, 16 - square, 12 - square]).real.max())


def keep(length: float, before: float, now: float) -> float:
    """What a step from one time to another leaves of the average: (before / now)^(gamma + 1).

    With steps of equal shares that is the paper's (1 - 1/t)^(gamma + 1). So the average of weights that stay as they
    are during each step is the profile's integral over it, whatever the steps' shares.
    """
    return (before / now) ** (exponent(length) + 1) if now > 0 else 0.0


def combine(wanted: Profile, known: Sequence[Profile]) -> Combination:
    """The sum of known averages that is nearest to the wanted one: least squares over the profiles, in float64.

    The factors sum to 1, which the paper does not ask for: its networks do not notice their weights' scale, and others
    do. With eight snapshots of two lengths, 0.2 would have weights 2 % too small without it.
    """
    between = np.array([[_product(one, other) for other in known] for one in known])
    to_wanted = np.array([_product(one, wanted) for one in known])
    system = np.block([[between, np.ones((len(known), 1))], [np.ones((1, len(known))), np.zeros((1, 1))]])
    found: _Numbers = np.linalg.lstsq(system, np.append(to_wanted, 1.0), rcond=None)[0][:-1]
    norm = _product(wanted, wanted)
    left = float(norm - 2 * found @ to_wanted + found @ between @ found)
    return Combination(tuple(found.tolist()), math.sqrt(max(0.0, left) / norm))


def _product(one: Profile, other: Profile) -> float:
    """The integral over time of two profiles' product."""
    early, late = sorted((one, other), key=lambda profile: profile.at)
    of_early, of_late = exponent(early.length), exponent(late.length)
    scale = (of_early + 1) * (of_late + 1) / (of_early + of_late + 1) / late.at
    return scale * float((early.at / late.at) ** of_late)
