"""Samplers, over diffusers' schedulers where those do what the papers say: from noise to x_0.

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
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ..training.objectives import STEPS, TIME_SCALE, Noise

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
    """Euler's method along the flow from s = 1 to 0 in equal steps; one evaluation each."""
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=STEPS)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / walk.steps, walk.steps).tolist())
    return _follow(walk, scheduler)


def heun(walk: Walk) -> Tensor:
    """Heun's method along the flow from s = 1 to 0 in equal steps; two evaluations each, one in the last.

    Not diffusers' scheduler, which stops at s = 0.001 in between and there divides by s.
    """
    stops = torch.linspace(1, 0, walk.steps + 1, dtype=torch.float64)
    return _heun(walk.noise, stops, lambda x, s: _prediction(walk.denoise(x, TIME_SCALE * s), x))


def ddpm(walk: Walk) -> Tensor:
    """Ancestral sampling (Ho et al., 2020) over `respaced` steps; one evaluation each.

    The variance is the learned one, else that of the posterior. x_0 is not clipped.
    """
    scheduler, streams = ancestral(walk.objective, walk.steps), walk.streams()
    x = walk.noise
    for t in scheduler.timesteps:
        x = scheduler.step(walk.denoise(x, t), t, x, generator=streams).prev_sample
    return x


def ancestral(objective: Noise, steps: int) -> Any:
    """diffusers' `DDPMScheduler`, as `ddpm` steps through it."""
    scheduler = DDPMScheduler(
        STEPS,
        trained_betas=objective.betas.numpy(),
        variance_type="learned_range" if objective.learn_variance else "fixed_small",
        clip_sample=False,
    )
    scheduler.alphas_cumprod = objective.alpha_bars  # its own float32 ones have 3 digits of 1 - alpha_bar at t = 0
    scheduler.set_timesteps(timesteps=respaced(steps))
    return scheduler


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
        epsilon = _prediction(walk.denoise(x, t), x)
        x0 = (x - (1 - kept[i]) ** 0.5 * epsilon) / kept[i] ** 0.5
        x = kept[i + 1] ** 0.5 * x0 + (1 - kept[i + 1]) ** 0.5 * epsilon
    return x


def dpm_solver(walk: Walk) -> Tensor:
    """DPM-Solver++ (Lu et al., 2022), multistep of order 2, deterministic; one evaluation a step."""
    scheduler = DPMSolverMultistepScheduler(
        STEPS, trained_betas=walk.objective.betas.numpy(), algorithm_type="dpmsolver++", solver_order=2
    )
    scheduler.set_timesteps(walk.steps)
    return _follow(walk, scheduler)


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
        return _prediction(walk.denoise(x, torch.tensor(t, dtype=torch.float64)), x)

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


def edm_heun(walk: Walk) -> Tensor:
    """Karras et al. (2022), Algorithm 1: Heun's method over falling noise levels, in float64.

    Noise levels from 80 to 0.002 with rho = 7, then 0; two evaluations a step, one in the last.
    """
    edm = walk.objective
    scheduler = EDMEulerScheduler(*edm.sigma_range, sigma_data=edm.sigma_data)
    scheduler.set_timesteps(walk.steps)
    sigmas = scheduler.sigmas.double()

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        seen = (edm.scale_in(sigma) * x).to(walk.noise.dtype)
        out = _prediction(walk.denoise(seen, edm.time_of(sigma)), x).double()
        return (x - edm.denoised(out, x, sigma)) / sigma  # type: ignore[no-any-return]

    return _heun(sigmas[0] * walk.noise.double(), sigmas, slope).to(walk.noise.dtype)


def _heun(x: Tensor, stops: Tensor, slope: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Heun's method from stop to falling stop, which are on the CPU; the step to 0 is Euler's."""
    for here, there in itertools.pairwise(stops):
        step, first = (there - here).to(x.dtype), slope(x, here)
        ahead = x + step * first
        x = x + step * (first + slope(ahead, there)) / 2 if there > 0 else ahead
    return x


def _follow(walk: Walk, scheduler: Any) -> Tensor:
    """A deterministic scheduler's own steps; what the denoiser says of the variance is left out."""
    x = walk.noise
    for t in scheduler.timesteps:
        x = scheduler.step(_prediction(walk.denoise(x, t), x), t, x).prev_sample
    return x


def _prediction(out: Tensor, x: Tensor) -> Tensor:
    """The output without the channels of the variance."""
    return out[:, : x.shape[1]]
