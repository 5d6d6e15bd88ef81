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

from ..errors import BadValue
from ..tracks.shift import Dimension, Factor, factor_of, shifted
from .paths import PATHS, PathName, Place

TIME_SCALE = 1000.0
STEPS = 1000  # of the discrete-time objectives


class LossParts(NamedTuple):
    """What the loss of a forward pass is made of: the mean of `error` and that of `rest`, added."""

    error: Tensor  # squared, with its weights: (N, C, H, W)
    rest: Tensor  # what else there is of an image, or 0: (N,)
    denoised: Tensor  # the x_0 that the output means: (N, C, H, W)


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

    # Two more, if it has them:
    # parts(out, x0, noise, t) gives the `LossParts` of the loss, for networks whose own loss looks at them.
    # at(t) is what it looks up by t, once for all: `corrupt`, `loss` and `parts` then take that as one argument more.


_NEAREST = 1e-5  # to the ends of the path vp in training: its sigma begins like a square root (SiT)


@dataclass(frozen=True)
class Flow:
    """A path from image to noise whose velocity dx/ds is regressed; s = t/1000.

    ``path="linear"`` is rectified flow (Liu et al., 2022): x_s = (1 - s) x_0 + s noise, velocity noise - x_0; the
    others are SiT's (Ma et al., 2024), in `paths`. ``time="logit-normal"`` draws s = sigmoid(mean + std z), z standard
    normal (Esser et al., 2024, Eq. 19), which dwells on the middle of the path; ``"uniform"`` draws s uniformly. Drawn
    times are then shifted (`tracks.shift`), by a factor and by the data's dimensions.
    """

    time: Literal["logit-normal", "uniform"] = "logit-normal"
    path: PathName = "linear"
    mean: Annotated[float, Field(ge=-20, le=20)] = 0.0  # of logit(s); above 0, more noise
    std: Annotated[float, Field(ge=1e-3, le=20)] = 1.0
    shift: Factor = 1.0
    shift_dimension: Dimension = 0
    learn_variance: bool = field(default=False, init=False)

    noise_scale = 1.0  # deviation of x at s = 1

    def __post_init__(self) -> None:
        if self.time == "uniform" and (self.mean, self.std) != (0, 1):
            raise BadValue("mean and std are those of logit-normal time, and time is uniform")

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        device = generator.device
        if self.time == "uniform":
            s = torch.rand(count, generator=generator, device=device)
        else:
            s = _logit_normal(count, self.mean, self.std, generator)
        s = shifted(s, factor_of(self.shift, self.shift_dimension))
        return TIME_SCALE * (s.clamp(_NEAREST, 1 - _NEAREST) if self.path == "vp" else s)

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        if self.path == "linear":
            return torch.lerp(x0, noise, _per_image(t / TIME_SCALE))
        return self._place_of(t).x(x0, noise)

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return _mean(self._error(out, x0, noise, t))

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> LossParts:
        """What the loss is made of."""
        denoised = self._place_of(t).image(out.float(), self.corrupt(x0, noise, t))
        return LossParts(self._error(out, x0, noise, t), torch.zeros_like(t), denoised)

    def place(self, s: Tensor) -> Place:
        """Where on the path time s is."""
        return PATHS[self.path](s)

    def velocity(self, out: Tensor, x: Tensor, s: Tensor) -> Tensor:
        """dx/ds at x, from the output."""
        return out

    def _error(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        velocity = noise - x0 if self.path == "linear" else self._place_of(t).velocity(x0, noise)
        return (out.float() - velocity).square()

    def _place_of(self, t: Tensor) -> Place:
        return self.place(_per_image(t / TIME_SCALE))


@dataclass(frozen=True)
class ImagePrediction:
    """Just image transformers (Li & He, 2025, arXiv:2511.13720): the network gives x_0, and the loss is the velocity's.

    x_s = (1 - s) x_0 + s noise_scale noise, s = t/1000; the paper's time is 1 - s, whose logit is normal with p_mean
    and p_std. The velocity is (x_s - x_0) / max(s, t_eps), of the image and of the output alike.
    """

    p_mean: Annotated[float, Field(ge=-20, le=20)] = -0.8  # below 0, more noise
    p_std: Annotated[float, Field(ge=1e-3, le=20)] = 0.8
    t_eps: Annotated[float, Field(ge=1e-6, le=1)] = 0.05
    noise_scale: Annotated[float, Field(ge=1e-2, le=100)] = 1.0  # deviation of x at s = 1; 2 for images of 512 pixels
    learn_variance: bool = field(default=False, init=False)

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        return TIME_SCALE * _logit_normal(count, -self.p_mean, self.p_std, generator)

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return torch.lerp(x0, self.noise_scale * noise, _per_image(t / TIME_SCALE))

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return _mean(self._error(out, x0, t))

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> LossParts:
        """What the loss is made of."""
        return LossParts(self._error(out, x0, t), torch.zeros_like(t), out.float())

    def place(self, s: Tensor) -> Place:
        """Where on the path time s is."""
        alpha, sigma, alpha_slope, sigma_slope = PATHS["linear"](s)
        return Place(alpha, self.noise_scale * sigma, alpha_slope, self.noise_scale * sigma_slope)

    def velocity(self, out: Tensor, x: Tensor, s: Tensor) -> Tensor:
        """dx/ds at x, from the output."""
        return (x - out) / s.clamp(min=self.t_eps)

    def _error(self, out: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Of the velocity: x_s is in both, and cancels."""
        return ((out.float() - x0) / _per_image(t / TIME_SCALE).clamp(min=self.t_eps)).square()


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

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor, at: AtTime | None = None) -> LossParts:
        """What the loss is made of; the rest is the variational bound."""
        at, epsilon = at or self.at(t), out[:, : x0.shape[1]].float()
        error = (epsilon - noise).square()
        return LossParts(
            error * at.weight if self.min_snr_gamma else error,
            self.bound(out, x0, noise, t, at) if self.learn_variance else torch.zeros_like(t),
            at.inverse_signal * self.corrupt(x0, noise, t, at) - at.noise_over_signal * epsilon,
        )

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

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> LossParts:
        """What the loss is made of."""
        sigma = _per_image(self.sigma_of(t))
        x, out = x0 + sigma * noise, out.float()
        skip, scale = self._skip_and_out(sigma)
        return LossParts((out - (x0 - skip * x) / scale).square(), torch.zeros_like(t), skip * x + scale * out)

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


def _logit_normal(count: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """sigmoid(mean + std z), z standard normal, on the generator's device: (count,)."""
    z = torch.randn(count, generator=generator, device=generator.device)
    return (z if (mean, std) == (0, 1) else mean + std * z).sigmoid()


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


def _per_image(value: Tensor) -> Tensor:
    return value[:, None, None, None]
