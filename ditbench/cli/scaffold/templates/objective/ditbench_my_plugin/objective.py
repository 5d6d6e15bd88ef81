"""The objective and its sampler: an example to put yours in the place of. In shapes: N images, C channels, H and W.

The angle is a = pi/2 t/1000: x_t = cos(a) x_0 + sin(a) noise, whose velocity dx/da is cos(a) noise - sin(a) x_0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ditbench import Level, LossParts, Walk

QUARTER = math.pi / 2


@dataclass(frozen=True)
class Trigonometric:
    """What training asks of an objective; all of it is here. A track's settings are checked by the annotations."""

    time: Literal["uniform", "logit-normal"] = "uniform"
    learn_variance: bool = field(default=False, init=False)  # the denoiser puts out C channels, not 2 C

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        """Training times in [0, 1000], on the generator's device: (N,)."""
        draw = torch.rand if self.time == "uniform" else torch.randn
        drawn = draw(count, generator=generator, device=generator.device)
        return 1000 * (drawn if self.time == "uniform" else drawn.sigmoid())

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noisy x_t (N, C, H, W) that the denoiser sees."""
        angle = _angle(t)
        return angle.cos() * x0 + angle.sin() * noise

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The squared error of the velocity, averaged over each image: (N,)."""
        return self.parts(out, x0, noise, t).error.flatten(1).mean(1)

    def parts(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> LossParts:
        """What the loss is made of, for networks that weigh it themselves; without it, these alone are refused."""
        angle, velocity, x = _angle(t), out.float(), self.corrupt(x0, noise, t)
        error = (velocity - (angle.cos() * noise - angle.sin() * x0)).square()
        return LossParts(error, rest=torch.zeros_like(t), denoised=angle.cos() * x - angle.sin() * velocity)

    def level(self, log_snr: float) -> Level:
        """Where log(cos(a)^2 / sin(a)^2) is this: for the denoising error, as is the next."""
        angle = math.atan(math.exp(-log_snr / 2))
        return Level.of(1000 * angle / QUARTER, math.cos(angle), math.sin(angle))

    def image(self, out: Tensor, x: Tensor, level: Level) -> Tensor:
        """The x_0 (N, C, H, W) that an output at x_t = x means there."""
        return level.alpha * x - level.sigma * out


def sample(walk: Walk) -> Tensor:
    """From noise to images in equal turns: as if the velocity knew x_0, x turns exactly to the next angle."""
    x, turn = walk.noise, QUARTER / walk.steps
    for here, _ in pairwise(torch.linspace(1000, 0, walk.steps + 1)):
        x = math.cos(turn) * x - math.sin(turn) * walk.denoise(x, here)
    return x


def _angle(t: Tensor) -> Tensor:
    return (QUARTER / 1000 * t)[:, None, None, None]
