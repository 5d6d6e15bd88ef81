"""Discrete-time diffusion of 1000 steps, whose noise is regressed: DDPM's objective, and iDDPM's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from .objectives import Level, LossParts, mean_of_each, per_image

STEPS = 1000


class AtTime(NamedTuple):
    """What `Noise`'s equations take from t: (N, 1, 1, 1) float32 each, rounded once."""

    signal: Tensor  # x_t = signal x_0 + noise epsilon
    noise: Tensor
    inverse_signal: Tensor  # x_0 = inverse_signal x_t - noise_over_signal epsilon
    noise_over_signal: Tensor
    of_image: Tensor  # q(x_{t-1} | x_t, x_0) has the mean of_image x_0 + of_x_t x_t
    of_x_t: Tensor
    least_log_variance: Tensor  # of the same; at t = 0, where its variance is 0, that of t = 1
    most_log_variance: Tensor
    weight: Tensor  # of the squared error


@dataclass(frozen=True)
class Noise:
    """Discrete-time diffusion of 1000 steps that regresses the noise (Ho et al., 2020); t is one of 0, 1, ..., 999.

    ``schedule="linear"``: betas from 1e-4 to 0.02; ``"scaled-linear"``: their roots are linear, from 0.00085 to
    0.012 (Stable Diffusion; U-ViT-H). With ``learn_variance`` the output's second half places the log variance
    between its two bounds and the variational bound in bits is added, its mean detached (Nichol & Dhariwal, 2021;
    DiT). ``min_snr_gamma`` weights the squared error with min(SNR, gamma) / SNR (Hang et al., 2023).
    """

    schedule: Literal["linear", "scaled-linear"] = "linear"
    learn_variance: bool = False
    min_snr_gamma: Annotated[float, Field(ge=0, le=1e6)] = 0.0  # 0: all times weigh the same

    @cached_property
    def betas(self) -> Tensor:
        """beta_t, in float64: (1000,)."""
        if self.schedule == "linear":
            return torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
        return torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64).square()

    @cached_property
    def alpha_bars(self) -> Tensor:
        """The share of the signal's variance that is left at t, in float64: (1000,)."""
        return (1 - self.betas).cumprod(0)

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(STEPS, (count,), generator=generator, device=generator.device).float()

    def at(self, t: Tensor) -> AtTime:
        """What `corrupt` and `loss` take from t."""
        return AtTime(*_table(self, t.device)[:, t.long(), None, None, None].unbind())

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor, at: AtTime | None = None) -> Tensor:
        at = at or self.at(t)
        return at.signal * x0 + at.noise * noise

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor, at: AtTime | None = None) -> Tensor:
        at, squared = at or self.at(t), mean_of_each((out[:, : x0.shape[1]].float() - noise).square())
        if self.min_snr_gamma:
            squared = squared * at.weight.flatten()
        return squared + self.bound(out, x0, noise, t, at) if self.learn_variance else squared

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor, at: AtTime | None = None) -> LossParts:
        """What the loss is made of; the rest is the variational bound."""
        at, epsilon = at or self.at(t), out[:, : x0.shape[1]].float()
        error = (epsilon - noise).square()
        return LossParts(
            error * at.weight if self.min_snr_gamma else error,
            self.bound(out, x0, noise, t, at) if self.learn_variance else torch.zeros_like(t),
            at.inverse_signal * self.corrupt(x0, noise, t, at) - at.noise_over_signal * epsilon,
        )

    def level(self, log_snr: float) -> Level:
        """x_t at just this log signal-to-noise ratio, at a time between the 1000 where it lies between theirs."""
        ratios = torch.logit(self.alpha_bars).flip(0).numpy()
        t = np.interp(log_snr, ratios, np.arange(STEPS)[::-1])
        return Level.of(float(t), (1 + math.exp(-log_snr)) ** -0.5, (1 + math.exp(log_snr)) ** -0.5)

    def image(self, out: Tensor, x: Tensor, level: Level) -> Tensor:
        """The x_0 that an output at x means there."""
        return (x - level.sigma * out[:, : x.shape[1]]) / level.alpha

    def bound(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor, at: AtTime | None = None) -> Tensor:
        """One term of the variational bound, in bits per dimension: (N,).

        KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), at t = 0 the likelihood of the 256 pixel values. No gradient
        reaches the predicted noise.
        """
        epsilon, v = out.float().chunk(2, dim=1)
        at = at or self.at(t)
        x_t = self.corrupt(x0, noise, t, at)
        guess = at.inverse_signal * x_t - at.noise_over_signal * epsilon.detach()  # of x_0
        true_mean, mean = at.of_image * x0 + at.of_x_t * x_t, at.of_image * guess + at.of_x_t * x_t
        least, share = at.least_log_variance, (v + 1) / 2
        log_variance = share * at.most_log_variance + (1 - share) * least
        gap = (true_mean - mean).square() * (-log_variance).exp()
        divergence = 0.5 * (log_variance - least + (least - log_variance).exp() - 1 + gap)
        first = per_image(t == 0)
        nats = torch.where(first, -_log_likelihood_of_pixels(x0, mean, log_variance), divergence)
        return mean_of_each(nats) / math.log(2)


@cache  # made and copied once per device, not at every training step
def _table(of: Noise, device: torch.device) -> Tensor:
    """The fields of `AtTime` at every t, in float64 until the end: (9, 1000) float32."""
    betas, alpha_bars = of.betas, of.alpha_bars
    before, rest = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bars[:-1]]), 1 - alpha_bars
    variances = betas[1:] * (1 - alpha_bars[:-1]) / rest[1:]
    snr = alpha_bars / rest
    fields = AtTime(
        signal=alpha_bars.sqrt(),
        noise=rest.sqrt(),
        inverse_signal=alpha_bars.rsqrt(),
        noise_over_signal=(1 / alpha_bars - 1).sqrt(),
        of_image=betas * before.sqrt() / rest,
        of_x_t=(1 - before) * (1 - betas).sqrt() / rest,
        least_log_variance=torch.cat([variances[:1], variances]).log(),
        most_log_variance=betas.log(),
        weight=snr.clamp(max=of.min_snr_gamma or math.inf) / snr,
    )
    return torch.stack(fields).float().to(device)


def _log_likelihood_of_pixels(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log probability of each of 256 equal bins over [-1, 1] under a normal; the outer bins are open.

    The normal's distribution function in its tanh approximation, as iDDPM evaluates it.
    """

    gap, scale = x - mean, (-0.5 * log_variance).exp()

    def below(z: Tensor) -> Tensor:
        return 0.5 * (1 + (math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)).tanh())

    upper, lower = below(scale * (gap + 1 / 255)), below(scale * (gap - 1 / 255))
    inside = torch.where(x > 0.999, 1 - lower, torch.where(x < -0.999, upper, upper - lower))
    return inside.clamp(min=1e-12).log()
