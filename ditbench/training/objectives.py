"""How x_t is made from an image, what the denoiser regresses, and how the two are scored.

Time t runs over [0, 1000] for every objective: 0 is the image, 1000 is noise. What the denoiser sees is of
order one at every t.

Letters in shapes: N images, C channels, H and W.

The annotations of an objective's settings are what `ditbench.tracks.settings` checks them by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Annotated, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

TIME_SCALE = 1000.0
STEPS = 1000  # of the discrete-time objectives


class DiffusionObjective(Protocol):
    """What training needs of an objective. Shapes: x (N, C, H, W), t (N,)."""

    @property
    def learn_variance(self) -> bool:
        """Whether the denoiser puts out 2 * C channels, the second half for the variance."""

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` training times in [0, 1000] on the generator's device: (N,)."""

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noisy x_t, as the denoiser sees it."""

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The loss of each image: (N,)."""

    # One that looks something up by t may do so once for both: it has `at(t)`, and both take that as one argument more.


@dataclass(frozen=True)
class Flow:
    """Rectified flow (Liu et al., 2022): x_t = (1 - s) x_0 + s noise, s = t/1000, velocity noise - x_0.

    ``time="logit-normal"`` draws s = sigmoid(standard normal) (Esser et al., 2024, Eq. 19), which dwells on
    the middle of the path; ``"uniform"`` draws s uniformly.
    """

    time: Literal["logit-normal", "uniform"] = "logit-normal"
    learn_variance: bool = field(default=False, init=False)

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        device = generator.device
        if self.time == "uniform":
            s = torch.rand(count, generator=generator, device=device)
        else:
            s = torch.randn(count, generator=generator, device=device).sigmoid()
        return TIME_SCALE * s

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return torch.lerp(x0, noise, _per_image(t / TIME_SCALE))

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return _mean((out.float() - (noise - x0)).square())


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
        at, squared = at or self.at(t), _mean((out[:, : x0.shape[1]].float() - noise).square())
        if self.min_snr_gamma:
            squared = squared * at.weight.flatten()
        return squared + self.bound(out, x0, noise, t, at) if self.learn_variance else squared

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
        first = _per_image(t == 0)
        nats = torch.where(first, -_log_likelihood_of_pixels(x0, mean, log_variance), divergence)
        return _mean(nats) / math.log(2)


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


@dataclass(frozen=True)
class EDM:
    """Karras et al., 2022: the preconditioned denoiser with log-normal noise levels.

    D(x; sigma) = c_skip x + c_out F(c_in x, t) with their four coefficients; F is the denoiser. Their weighting
    makes the loss the plain squared error of F against (x_0 - c_skip x) / c_out. The denoiser is told
    t = 1000 (ln sigma - ln 0.002) / (ln 80 - ln 0.002), which is their ln(sigma) / 4 on ditbench's scale; of a million
    draws 16 lie beyond these ends and are moved to them.
    """

    sigma_data: Annotated[float, Field(ge=1e-3, le=1e3)] = 0.5
    mean: Annotated[float, Field(ge=-20, le=20)] = -1.2  # of ln sigma in training
    std: Annotated[float, Field(ge=1e-3, le=20)] = 1.2
    learn_variance: bool = field(default=False, init=False)

    sigma_range = (0.002, 80.0)

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        draw = torch.randn(count, generator=generator, device=generator.device)
        return self.time_of((self.mean + self.std * draw).exp()).clamp(0, TIME_SCALE)

    def time_of(self, sigma: Tensor) -> Tensor:
        """What the denoiser is told for a noise level."""
        least, most = map(math.log, self.sigma_range)
        return TIME_SCALE * (sigma.log() - least) / (most - least)

    def sigma_of(self, t: Tensor) -> Tensor:
        """The noise level at a time."""
        least, most = map(math.log, self.sigma_range)
        return (least + (most - least) * t / TIME_SCALE).exp()

    def scale_in(self, sigma: Tensor) -> Tensor:
        """c_in, which brings x = x_0 + sigma noise to unit variance."""
        return (sigma.square() + self.sigma_data**2).rsqrt()

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        sigma = _per_image(self.sigma_of(t))
        return self.scale_in(sigma) * (x0 + sigma * noise)

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        sigma = _per_image(self.sigma_of(t))
        skip, scale = self._skip_and_out(sigma)
        target = (x0 - skip * (x0 + sigma * noise)) / scale
        return _mean((out.float() - target).square())

    def denoised(self, out: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x; sigma) from F's output."""
        skip, scale = self._skip_and_out(sigma)
        return skip * x + scale * out

    def _skip_and_out(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        total = sigma.square() + self.sigma_data**2
        return self.sigma_data**2 / total, sigma * self.sigma_data * total.rsqrt()


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


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


def _per_image(value: Tensor) -> Tensor:
    return value[:, None, None, None]
