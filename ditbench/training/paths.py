"""Paths from an image to noise, x_s = alpha(s) x_0 + sigma(s) noise, and what a velocity dx/ds on them means.

Time s runs from 0, the image, to 1, noise; SiT (arXiv:2401.08740) counts 1 - s and names the same paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

PathName = Literal["linear", "gvp", "vp"]
_BETAS = 0.1, 20.0  # of vp, at s = 0 and 1


class Place(NamedTuple):
    """A path's coefficients at a time, and their slopes by s, each of the shape of s."""

    alpha: Tensor
    sigma: Tensor
    alpha_slope: Tensor
    sigma_slope: Tensor

    def x(self, x0: Tensor, noise: Tensor) -> Tensor:
        """The path's x_s."""
        return self.alpha * x0 + self.sigma * noise

    def velocity(self, x0: Tensor, noise: Tensor) -> Tensor:
        """dx/ds."""
        return self.alpha_slope * x0 + self.sigma_slope * noise

    def image(self, velocity: Tensor, x: Tensor) -> Tensor:
        """The x_0 from which a velocity leads through x."""
        return (self.sigma_slope * x - self.sigma * velocity) / self._turn

    def noise(self, velocity: Tensor, x: Tensor) -> Tensor:
        """The noise to which it leads; the score is minus it over sigma."""
        return (self.alpha * velocity - self.alpha_slope * x) / self._turn

    @property
    def _turn(self) -> Tensor:
        return self.alpha * self.sigma_slope - self.sigma * self.alpha_slope


Path = Callable[[Tensor], Place]


def linear(s: Tensor) -> Place:
    """The straight line: alpha = 1 - s, sigma = s."""
    one = torch.ones_like(s)
    return Place(1 - s, s, -one, one)


def gvp(s: Tensor) -> Place:
    """Generalised variance-preserving: alpha = cos(pi s / 2), sigma = sin(pi s / 2)."""
    quarter = math.pi / 2
    alpha, sigma = (quarter * s).cos(), (quarter * s).sin()
    return Place(alpha, sigma, -quarter * sigma, quarter * alpha)


def vp(s: Tensor) -> Place:
    """Variance-preserving: log alpha = -s^2 (20 - 0.1) / 4 - 0.1 s / 2, sigma^2 = 1 - alpha^2; steep at s = 0."""
    least, most = _BETAS
    log_alpha = -0.25 * s.square() * (most - least) - 0.5 * s * least
    alpha, sigma = log_alpha.exp(), (-(2 * log_alpha).expm1()).sqrt()
    alpha_slope = -0.5 * alpha * (s * (most - least) + least)
    return Place(alpha, sigma, alpha_slope, -alpha * alpha_slope / sigma)


PATHS: dict[PathName, Path] = {"linear": linear, "gvp": gvp, "vp": vp}


def time_at(log_snr: float, path: PathName) -> float:
    """The time s at which a path has log(alpha^2 / sigma^2) = log_snr."""
    if path == "linear":
        return 1 / (1 + math.exp(log_snr / 2))
    if path == "gvp":
        return 2 / math.pi * math.atan(math.exp(-log_snr / 2))
    least, most = _BETAS  # alpha^2 = 1 / (1 + exp(-log_snr)), so s^2 (most - least) / 2 + s least = twice -log alpha
    whole = math.log1p(math.exp(-log_snr))
    return 2 * whole / (least + math.sqrt(least**2 + 2 * (most - least) * whole))
