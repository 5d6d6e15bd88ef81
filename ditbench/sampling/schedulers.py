"""Samplers over diffusers' schedulers, where those do what the papers say.

A module of its own: diffusers takes a second to load, and most runs on a CPU do without.
"""

from __future__ import annotations

from typing import Any

from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from torch import Tensor

from ..training.objectives import STEPS, Noise
from .samplers import Walk, prediction, respaced, solve_heun


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


def dpm_solver(walk: Walk) -> Tensor:
    """DPM-Solver++ (Lu et al., 2022), multistep of order 2, deterministic; one evaluation a step."""
    scheduler = DPMSolverMultistepScheduler(
        STEPS, trained_betas=walk.objective.betas.numpy(), algorithm_type="dpmsolver++", solver_order=2
    )
    scheduler.set_timesteps(walk.steps)
    x = walk.noise
    for t in scheduler.timesteps:
        x = scheduler.step(prediction(walk.denoise(x, t), x), t, x).prev_sample
    return x


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
        out = prediction(walk.denoise(seen, edm.time_of(sigma)), x).double()
        return (x - edm.denoised(out, x, sigma)) / sigma  # type: ignore[no-any-return]

    return solve_heun(sigmas[0] * walk.noise.double(), sigmas, slope).to(walk.noise.dtype)
