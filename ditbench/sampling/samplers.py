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
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..tracks.shift import Dimension, Factor, factor_of, shifted
from ..training.discrete import STEPS
from ..training.objectives import TIME_SCALE
from ..training.paths import Path
from .noises import drawn_ahead, of_streams
from .times import LAST_STEP

_FAINT = 1e-3  # alpha below which an image can't be told from noise; how far from s = 1 the coefficients stay finite

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x (N, C, H, W), t () on the CPU) -> the denoiser's output


@dataclass(frozen=True, eq=False)
class Walk:
    """What a sampler is given."""

    denoise: Denoise
    objective: Any  # the `DiffusionObjective` that the denoiser was trained with
    noise: Tensor  # standard normal (N, C, H, W)
    steps: int
    streams: Callable[[], list[torch.Generator]]  # makes one per image, on the CPU


Sample = Callable[[Walk], Tensor]  # with its settings, if it has any, as further keywords
Diffusion = Literal["sigma", "sbdm", "linear", "constant", "decreasing", "increasing-decreasing"]


def euler(walk: Walk, shift: Factor = 1.0, shift_dimension: Dimension = 0) -> Tensor:
    """Euler's method along the path from s = 1 to 0 in equal steps, or shifted ones; one evaluation each.

    To the bit what diffusers' `FlowMatchEulerDiscreteScheduler` does.
    """
    equal = np.append(np.linspace(1, 1 / walk.steps, walk.steps), 0).astype(np.float32)
    stops = torch.from_numpy(shifted(equal, factor_of(shift, shift_dimension)))
    x = _start(walk)
    for here, there in itertools.pairwise(stops):
        x = x + (there - here) * _velocity(walk, x, here)
    return x


def heun(walk: Walk, shift: Factor = 1.0, shift_dimension: Dimension = 0) -> Tensor:
    """Heun's method along the path from s = 1 to 0 in equal steps, or shifted ones; two evaluations each, one at last.

    Not diffusers' scheduler, which stops at s = 0.001 in between and there divides by s.
    """
    equal = torch.linspace(1, 0, walk.steps + 1, dtype=torch.float64)
    stops = shifted(equal, factor_of(shift, shift_dimension))
    return solve_heun(_start(walk), stops, lambda x, s: _velocity(walk, x, s))


def sde(
    walk: Walk,
    diffusion: Diffusion = "sigma",
    norm: Annotated[float, Field(ge=0, le=100)] = 1.0,
    last_step: Annotated[float, Field(ge=1e-6, lt=1)] = LAST_STEP,
    shift: Factor = 1.0,
    shift_dimension: Dimension = 0,
) -> Tensor:
    """Euler-Maruyama steps of SiT's SDE (Ma et al., 2024, Eq. 7) from s = 1 to 0; one evaluation each.

    With h = -ds and the velocity v = dx/ds it is dx = (w score - v) h + sqrt(2 w h) noise, as their code has it. All
    steps but the last are equal, or shifted; the last one, from s = `last_step`, adds no noise ("Mean").
    """
    equal = torch.linspace(1, last_step, walk.steps, dtype=torch.float64)
    stops = [*shifted(equal, factor_of(shift, shift_dimension)), torch.zeros((), dtype=torch.float64)]
    x = _start(walk)
    noises = drawn_ahead(partial(of_streams, walk.streams(), walk.noise), x.device, walk.steps - 1)
    for here, there in itertools.pairwise(stops):
        velocity, place, h = _velocity(walk, x, here), walk.objective.place(here), here - there
        w = diffusion_at(here, walk.objective.place, diffusion, norm)
        score = -place.noise(velocity, x) / place.sigma
        x = x + h * (w * score - velocity)
        if there > 0:
            x = x + (2 * w * h).sqrt() * next(noises)
    return x


def diffusion_at(s: Tensor, path: Path, kind: Diffusion, norm: float) -> Tensor:
    """SiT's diffusion coefficient w at time s (), which is on the CPU.

    `sbdm` is that of score-based models, for which the path vp is their SDE. Where a path ends in pure noise it is
    infinite: there it is that of s = 0.999.
    """
    if kind == "sbdm":
        place = path(s) if path(s).alpha >= _FAINT else path(s.new_tensor(1 - _FAINT))
        alpha, sigma, alpha_slope, sigma_slope = place
        return norm * sigma * (alpha * sigma_slope - sigma * alpha_slope) / alpha
    angle = math.pi * (1 - s)
    return {
        "sigma": norm * path(s).sigma,
        "linear": norm * s,
        "constant": torch.full_like(s, norm),
        "decreasing": 0.25 * (norm * angle.cos() + 1).square(),
        "increasing-decreasing": norm * angle.sin().square(),
    }[kind]


def _start(walk: Walk) -> Tensor:
    """x at s = 1."""
    return walk.objective.noise_scale * walk.noise  # type: ignore[no-any-return]


def _velocity(walk: Walk, x: Tensor, s: Tensor) -> Tensor:
    """dx/ds at x and time s (), as the denoiser has it."""
    return walk.objective.velocity(prediction(walk.denoise(x, TIME_SCALE * s), x), x, s)  # type: ignore[no-any-return]


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
