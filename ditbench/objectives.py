"""How x_t is made from an image, what the denoiser regresses, and how the two are scored.

Time t runs over [0, 1000] for every objective: 0 is the image, 1000 is noise. What the denoiser sees has about
unit variance at every t.

Letters in shapes: N images, C channels, H and W.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from .errors import BadValue

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


def loss_of(denoiser: nn.Module, once: Callable[..., Tensor]) -> Tensor:
    """The denoiser's own `training_loss`, if it has one, of the loss of one forward; else that one."""
    own: Callable[[Callable[..., Tensor]], Tensor] | None = getattr(denoiser, "training_loss", None)
    return once() if own is None else own(once)


@dataclass(frozen=True)
class Flow:
    """Rectified flow (Liu et al., 2022): x_t = (1 - s) x_0 + s noise, s = t/1000, velocity noise - x_0.

    ``time="logit-normal"`` draws s = sigmoid(standard normal) (Esser et al., 2024, Eq. 19), which dwells on
    the middle of the path; ``"uniform"`` draws s uniformly.
    """

    time: str = "logit-normal"
    learn_variance: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        _require_one_of("time", self.time, ("logit-normal", "uniform"))

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


@dataclass(frozen=True)
class Noise:
    """Discrete-time diffusion of 1000 steps that regresses the noise (Ho et al., 2020); t is one of 0, 1, ..., 999.

    ``schedule="linear"``: betas from 1e-4 to 0.02; ``"scaled-linear"``: their roots are linear, from 0.00085 to
    0.012 (Stable Diffusion; U-ViT's latent models). With ``learn_variance`` the output's second half places the
    log variance between its two bounds and the variational bound in bits is added, its mean detached (Nichol &
    Dhariwal, 2021; DiT). ``min_snr_gamma`` weights the squared error with min(SNR, gamma) / SNR (Hang et al., 2023).
    """

    schedule: str = "linear"
    learn_variance: bool = False
    min_snr_gamma: float = 0.0  # 0: all times weigh the same

    def __post_init__(self) -> None:
        _require_one_of("schedule", self.schedule, ("linear", "scaled-linear"))
        if not 0 <= self.min_snr_gamma < math.inf:
            raise BadValue(f"min_snr_gamma {self.min_snr_gamma} must be 0 or positive.")

    @property
    def beta_range(self) -> tuple[float, float]:
        """The first and the last beta."""
        return (1e-4, 0.02) if self.schedule == "linear" else (0.00085, 0.012)

    @cached_property
    def betas(self) -> Tensor:
        """beta_t, in float64: (1000,)."""
        first, last = self.beta_range
        if self.schedule == "linear":
            return torch.linspace(first, last, STEPS, dtype=torch.float64)
        return torch.linspace(first**0.5, last**0.5, STEPS, dtype=torch.float64).square()

    @cached_property
    def alpha_bars(self) -> Tensor:
        """The share of the signal's variance that is left at t, in float64: (1000,)."""
        return (1 - self.betas).cumprod(0)

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(STEPS, (count,), generator=generator, device=generator.device).float()

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self._at(self.alpha_bars.sqrt(), t) * x0 + self._at((1 - self.alpha_bars).sqrt(), t) * noise

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        squared = _mean((out[:, : x0.shape[1]].float() - noise).square())
        if self.min_snr_gamma:
            alpha_bar = self.alpha_bars.to(t.device)[t.long()]
            snr = alpha_bar / (1 - alpha_bar)
            squared = squared * (snr.clamp(max=self.min_snr_gamma) / snr).float()
        return squared + self.bound(out, x0, noise, t) if self.learn_variance else squared

    def bound(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """One term of the variational bound, in bits per dimension: (N,).

        KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), at t = 0 the likelihood of the 256 pixel values. No gradient
        reaches the predicted noise.
        """
        epsilon, v = out.float().chunk(2, dim=1)
        epsilon, x_t = epsilon.detach(), self.corrupt(x0, noise, t)
        of_image, of_x_t = (self._at(weight, t) for weight in self.posterior_weights)
        alpha_bars = self.alpha_bars
        guess = self._at(alpha_bars.rsqrt(), t) * x_t - self._at((1 / alpha_bars - 1).sqrt(), t) * epsilon  # of x_0
        true_mean, mean = of_image * x0 + of_x_t * x_t, of_image * guess + of_x_t * x_t
        least, most = self._at(self.least_log_variances, t), self._at(self.betas.log(), t)
        share = (v + 1) / 2
        log_variance = share * most + (1 - share) * least
        gap = (true_mean - mean).square() * (-log_variance).exp()
        divergence = 0.5 * (log_variance - least + (least - log_variance).exp() - 1 + gap)
        first = (t == 0)[:, None, None, None]
        nats = torch.where(first, -_log_likelihood_of_pixels(x0, mean, log_variance), divergence)
        return _mean(nats) / math.log(2)

    @cached_property
    def posterior_weights(self) -> tuple[Tensor, Tensor]:
        """The mean of q(x_{t-1} | x_t, x_0) is the first times x_0 plus the second times x_t: (1000,) each."""
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bars[:-1]])
        rest = 1 - self.alpha_bars
        return self.betas * before.sqrt() / rest, (1 - before) * (1 - self.betas).sqrt() / rest

    @cached_property
    def least_log_variances(self) -> Tensor:
        """log variance of q(x_{t-1} | x_t, x_0); at t = 0, where it is 0, that of t = 1: (1000,)."""
        variances = self.betas[1:] * (1 - self.alpha_bars[:-1]) / (1 - self.alpha_bars[1:])
        return torch.cat([variances[:1], variances]).log()

    def _at(self, table: Tensor, t: Tensor) -> Tensor:
        """Entries of a float64 table, rounded once: (N, 1, 1, 1) float32."""
        return _per_image(table.float().to(t.device, non_blocking=True)[t.long()])


@dataclass(frozen=True)
class EDM:
    """Karras et al., 2022: the preconditioned denoiser with log-normal noise levels.

    D(x; sigma) = c_skip x + c_out F(c_in x, t) with their four coefficients; F is the denoiser. Their weighting
    makes the loss the plain squared error of F against (x_0 - c_skip x) / c_out. The denoiser is told
    t = 1000 (ln sigma - ln 0.002) / (ln 80 - ln 0.002), which is their ln(sigma) / 4 on ditbench's scale.
    """

    sigma_data: float = 0.5
    mean: float = -1.2  # of ln sigma in training
    std: float = 1.2
    learn_variance: bool = field(default=False, init=False)

    sigma_range = (0.002, 80.0)

    def __post_init__(self) -> None:
        if self.sigma_data <= 0 or self.std <= 0:
            raise BadValue(f"sigma_data {self.sigma_data} and std {self.std} must be positive.")

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


def _require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BadValue(f"{name} {value!r} is none of {', '.join(known)}.")
