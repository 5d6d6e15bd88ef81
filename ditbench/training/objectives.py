"""How x_t is made from an image, what the denoiser regresses, and how the two are scored.

Time t runs over [0, 1000] for every objective: 0 is the image, 1000 is noise. What the denoiser sees is of
order one at every t.

Letters in shapes: N images, C channels, H and W.

The annotations of an objective's settings are what `ditbench.tracks.settings` checks them by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from ..errors import BadValue
from ..tracks.shift import Dimension, Factor, factor_of, shifted
from .paths import PATHS, PathName, Place, time_at

TIME_SCALE = 1000.0


class LossParts(NamedTuple):
    """What the loss of a forward pass is made of: the mean of `error` and that of `rest`, added."""

    error: Tensor  # squared, with its weights: (N, C, H, W)
    rest: Tensor  # what else there is of an image, or 0: (N,)
    denoised: Tensor  # the x_0 that the output means: (N, C, H, W)


class Level(NamedTuple):
    """How noisy x_t = alpha x_0 + sigma noise is, as the denoiser sees it, on the CPU in float64: () each."""

    t: Tensor  # what the denoiser is told, in [0, 1000]
    alpha: Tensor
    sigma: Tensor

    @classmethod
    def of(cls, t: float, alpha: float, sigma: float) -> Level:
        """From plain numbers."""
        return cls(*torch.tensor([t, alpha, sigma], dtype=torch.float64))


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

    # More, if it has them:
    # parts(out, x0, noise, t) gives the `LossParts` of the loss, for networks whose own loss looks at them.
    # at(t) is what it looks up by t, once for all: `corrupt`, `loss` and `parts` then take that as one argument more.
    # level(log_snr) is the `Level` where log(alpha^2 / sigma^2) of x_0 and noise is log_snr, and image(out, x, level)
    # the x_0 (N, C, H, W) that an output at x_t = x means there: for the denoising error.


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
            return torch.lerp(x0, noise, per_image(t / TIME_SCALE))
        return self._place_of(t).x(x0, noise)

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return mean_of_each(self._error(out, x0, noise, t))

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

    def level(self, log_snr: float) -> Level:
        """Where on the path the log signal-to-noise ratio is this."""
        s = torch.tensor(time_at(log_snr, self.path), dtype=torch.float64)
        return Level(TIME_SCALE * s, *self.place(s)[:2])

    def image(self, out: Tensor, x: Tensor, level: Level) -> Tensor:
        """The x_0 that an output at x means there."""
        return self.place(level.t / TIME_SCALE).image(out, x)

    def _error(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        velocity = noise - x0 if self.path == "linear" else self._place_of(t).velocity(x0, noise)
        return (out.float() - velocity).square()

    def _place_of(self, t: Tensor) -> Place:
        return self.place(per_image(t / TIME_SCALE))


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
        return torch.lerp(x0, self.noise_scale * noise, per_image(t / TIME_SCALE))

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return mean_of_each(self._error(out, x0, t))

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

    def level(self, log_snr: float) -> Level:
        """Where on the path the log signal-to-noise ratio is this."""
        s = torch.tensor(time_at(log_snr + 2 * math.log(self.noise_scale), "linear"), dtype=torch.float64)
        return Level(TIME_SCALE * s, *self.place(s)[:2])

    def image(self, out: Tensor, x: Tensor, level: Level) -> Tensor:
        """The x_0 that an output at x means there: itself."""
        return out

    def _error(self, out: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Of the velocity: x_s is in both, and cancels."""
        return ((out.float() - x0) / per_image(t / TIME_SCALE).clamp(min=self.t_eps)).square()


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
        sigma = per_image(self.sigma_of(t))
        return self.scale_in(sigma) * (x0 + sigma * noise)

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        sigma = per_image(self.sigma_of(t))
        skip, scale = self._skip_and_out(sigma)
        target = (x0 - skip * (x0 + sigma * noise)) / scale
        return mean_of_each((out.float() - target).square())

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> LossParts:
        """What the loss is made of."""
        sigma = per_image(self.sigma_of(t))
        x, out = x0 + sigma * noise, out.float()
        skip, scale = self._skip_and_out(sigma)
        return LossParts((out - (x0 - skip * x) / scale).square(), torch.zeros_like(t), skip * x + scale * out)

    def level(self, log_snr: float) -> Level:
        """The noise level of this log signal-to-noise ratio."""
        sigma = torch.tensor(math.exp(-log_snr / 2), dtype=torch.float64)
        scale = self.scale_in(sigma)
        return Level(self.time_of(sigma), scale, scale * sigma)

    def image(self, out: Tensor, x: Tensor, level: Level) -> Tensor:
        """The x_0 that an output at x means there."""
        return self.denoised(out, x / level.alpha, level.sigma / level.alpha)

    def denoised(self, out: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x; sigma) from F's output."""
        skip, scale = self._skip_and_out(sigma)
        return skip * x + scale * out

    def _skip_and_out(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        total = sigma.square() + self.sigma_data**2
        return self.sigma_data**2 / total, sigma * self.sigma_data * total.rsqrt()


def _logit_normal(count: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """sigmoid(mean + std z), z standard normal, on the generator's device: (count,)."""
    z = torch.randn(count, generator=generator, device=generator.device)
    return (z if (mean, std) == (0, 1) else mean + std * z).sigmoid()


def mean_of_each(x: Tensor) -> Tensor:
    """Over all but the first axis: (N,)."""
    return x.flatten(1).mean(1)


def per_image(value: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return value[:, None, None, None]
