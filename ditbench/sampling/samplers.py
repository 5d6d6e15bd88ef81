"""Samplers: from noise to x_0. Those over diffusers' schedulers are in `schedulers`, which a run loads if it needs one.

A sampler walks back in time and asks the denoiser at every stop. Those that draw noise on the way take it from
one stream per image, so that an image does not depend on its batch. Times and coefficients stay on the CPU, so that a
step reads nothing back from the device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..training.objectives import STEPS, TIME_SCALE

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x (N, C, H, W), t () on the CPU) -> the denoiser's output


@dataclass(frozen=True, eq=False)
class Walk:
    """What a sampler is given."""

    denoise: Denoise
    objective: Any  # the `DiffusionObjective` that the denoiser was trained with
    noise: Tensor  # standard normal (N, C, H, W)
    steps: int
    streams: Callable[[], list[torch.Generator]]  # makes one per image, on the CPU


Sample = Callable[[Walk], Tensor]


def euler(walk: Walk) -> Tensor:
    """Euler's method along the flow from s = 1 to 0 in equal steps; one evaluation each.

    To the bit what diffusers' `FlowMatchEulerDiscreteScheduler` does.
    """
    stops = torch.from_numpy(np.append(np.linspace(1, 1 / walk.steps, walk.steps), 0).astype(np.float32))
    x = walk.noise
    for here, there in itertools.pairwise(stops):
        x = x + (there - here) * prediction(walk.denoise(x, TIME_SCALE * here), x)
    return x


def heun(walk: Walk) -> Tensor:
    """Heun's method along the flow from s = 1 to 0 in equal steps; two evaluations each, one in the last.

    Not diffusers' scheduler, which stops at s = 0.001 in between and there divides by s.
    """
    stops = torch.linspace(1, 0, walk.steps + 1, dtype=torch.float64)
    return solve_heun(walk.noise, stops, lambda x, s: prediction(walk.denoise(x, TIME_SCALE * s), x))


def respaced(steps: int) -> list[int]:
    """Times from 999 to 0 in equal parts, rounded as iDDPM rounds them.

    It adds up the stride. Multiplying would put some times of odd counts one off, 500 for 499 among 21.
    """
    stride = (STEPS - 1) / max(1, steps - 1)
    return [round(t) for t in itertools.accumulate([stride] * (steps - 1), initial=0.0)][::-1]


def ddim(walk: Walk) -> Tensor:
    """Deterministic DDIM (Song et al., 2021, Eq. 12, eta = 0) over `respaced` steps; one evaluation each.

    Each step leads to the next of the list. (diffusers' own scheduler counts down by a fixed number instead.)
    """
    times = torch.tensor(respaced(walk.steps))
    kept = [*walk.objective.alpha_bars[times].tolist(), 1.0]
    x = walk.noise
    for i, t in enumerate(times):
        epsilon = prediction(walk.denoise(x, t), x)
        x0 = (x - (1 - kept[i]) ** 0.5 * epsilon) / kept[i] ** 0.5
        x = kept[i + 1] ** 0.5 * x0 + (1 - kept[i + 1]) ** 0.5 * epsilon
    return x


def dpm_solver_fast(walk: Walk) -> Tensor:
    """DPM-Solver-fast (Lu et al., 2022, arXiv:2206.00927), deterministic: one evaluation for each of `steps`.

    Single steps of `fast_orders` over equal parts of the log signal-to-noise ratio, from time 999 to time 0, where it
    ends: what little noise is left there stays. Between the 1000 times log alpha is linear, as the paper has it, and
    the denoiser is asked at fractions, too.
    """
    log_alphas = 0.5 * walk.objective.alpha_bars.log().numpy()
    lowest, highest = (la - 0.5 * math.log(-math.expm1(2 * la)) for la in log_alphas[[-1, 0]].tolist())
    times = np.arange(STEPS)

    def epsilon(x: Tensor, level: float) -> Tensor:
        t = np.interp(math.log(_alpha(level)), log_alphas[::-1], times[::-1])
        return prediction(walk.denoise(x, torch.tensor(t, dtype=torch.float64)), x)

    orders, x = fast_orders(walk.steps), walk.noise
    stops = np.linspace(lowest, highest, len(orders) + 1).tolist()
    for order, (here, there) in zip(orders, itertools.pairwise(stops), strict=True):
        x = _single_step(order, x, here, there, epsilon)
    return x


def fast_orders(steps: int) -> list[int]:
    """The orders of DPM-Solver-fast's single steps, which ask as often as their order: threes, and the rest at last."""
    threes, rest = divmod(steps, 3)
    return [3] * threes + [rest] if rest else [3] * (threes - 1) + [2, 1]


def _single_step(
    order: int, x: Tensor, here: float, there: float, epsilon: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """DPM-Solver-1, -2 (r = 1/2) or -3 (r = 1/3, 2/3) between two halves of the log signal-to-noise ratio."""
    first, h = epsilon(x, here), there - here

    def to(level: float, weight: float = 0.0, change: Tensor | None = None) -> Tensor:
        """As if the noise stayed `first`, and what its change adds by a weight."""
        sigma = _alpha(-level)
        reached = _alpha(level) / _alpha(here) * x - sigma * math.expm1(level - here) * first
        return reached if change is None else reached - sigma * weight * change

    if order == 1:
        return to(there)
    if order == 2:
        middle = here + h / 2
        return to(there, math.expm1(h), epsilon(to(middle), middle) - first)
    one, two = here + h / 3, here + 2 * h / 3
    second = to(two, 2 * (math.expm1(2 * h / 3) / (2 * h / 3) - 1), epsilon(to(one), one) - first)
    return to(there, 1.5 * (math.expm1(h) / h - 1), epsilon(second, two) - first)


def _alpha(level: float) -> float:
    """The signal's part where log(alpha / sigma) is `level`; of -level it is sigma."""
    return 1 / math.sqrt(1 + math.exp(-2 * level))


def solve_heun(x: Tensor, stops: Tensor, slope: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Heun's method from stop to falling stop, which are on the CPU; the step to 0 is Euler's."""
    for here, there in itertools.pairwise(stops):
        step, first = (there - here).to(x.dtype), slope(x, here)
        ahead = x + step * first
        x = x + step * (first + slope(ahead, there)) / 2 if there > 0 else ahead
    return x


def prediction(out: Tensor, x: Tensor) -> Tensor:
    """The output without the channels of the variance."""
    return out[:, : x.shape[1]]
