"""At which times ditbench's own samplers ask the denoiser, told without torch: a record is checked anywhere.

Each function takes the steps, and the sampler's settings if it has any, and returns times in [0, 1000], one for each
evaluation of an image, in no certain order. A test compares them with the samplers themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from ..tracks.guidance import T
from ..tracks.shift import factor_of, shifted

LAST_STEP = 0.04  # of sde
_SIGMAS, _RHO = (0.002, 80.0), 7  # of edm-heun


def euler(steps: int, shift: float = 1.0, shift_dimension: int = 0) -> list[float]:
    """Along the path in equal steps, or shifted ones, once at the start of each."""
    factor = factor_of(shift, shift_dimension)
    return [T * shifted(1 - step / steps, factor) for step in range(steps)]


def heun(steps: int, shift: float = 1.0, shift_dimension: int = 0) -> list[float]:
    """Along the path in equal steps, or shifted ones, twice in each but the last."""
    return _twice(euler(steps, shift, shift_dimension))


def sde(
    steps: int, last_step: float = LAST_STEP, shift: float = 1.0, shift_dimension: int = 0, **_: object
) -> list[float]:
    """Along the path in equal steps, or shifted ones, but for the last; once at the start of each."""
    factor, length = factor_of(shift, shift_dimension), (1 - last_step) / max(1, steps - 1)
    return [T * shifted(1 - length * step, factor) for step in range(steps)]


def respaced(steps: int) -> list[float]:
    """As `samplers.respaced` has it."""
    stride = (T - 1) / max(1, steps - 1)
    return [float(round(t)) for t in accumulate([stride] * (steps - 1), initial=0.0)]


def dpm_solver(steps: int) -> list[float]:
    """As diffusers' DPM-Solver has it."""
    return [float(round((T - 1) * step / steps)) for step in range(1, steps + 1)]


def edm_heun(steps: int) -> list[float]:
    """EDM's noise levels as times, twice in each step but the last."""
    (least, most), power = _SIGMAS, 1 / _RHO
    ramp = (step / max(1, steps - 1) for step in range(steps))
    sigmas = ((most**power + share * (least**power - most**power)) ** _RHO for share in ramp)
    return _twice([T * math.log(sigma / least) / math.log(most / least) for sigma in sigmas])


def _twice(times: Sequence[float]) -> list[float]:
    """Heun's method asks at every stop, and again at the end of each step but the last, which ends in the image."""
    return [*times, *times[1:]]
