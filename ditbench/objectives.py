"""How x_t is made from an image, what the denoiser regresses, and how the two are scored.

Time t runs over [0, 1000] for every objective: 0 is the image, 1000 is noise.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .errors import BadValue

TIME_SCALE = 1000.0


class DiffusionObjective(Protocol):
    """What training needs of an objective. Shapes: x (N, C, H, W), t (N,)."""

    learn_variance: bool

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` training times in [0, 1000] on the generator's device: (N,)."""

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noisy x_t."""

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The loss of each image: (N,)."""


class Flow:
    """Rectified flow (Liu et al., 2022): x_t = (1 - s) x_0 + s noise, s = t/1000, velocity noise - x_0.

    ``time="logit-normal"`` draws s = sigmoid(standard normal) (Esser et al., 2024, Eq. 19), which dwells on
    the middle of the path; ``"uniform"`` draws s uniformly.
    """

    learn_variance = False

    def __init__(self, time: str = "logit-normal") -> None:
        if time not in ("logit-normal", "uniform"):
            raise BadValue(f"Objective 'flow': time {time!r} is none of logit-normal, uniform.")
        self.time = time

    def sample_time(self, count: int, generator: torch.Generator) -> Tensor:
        device = generator.device
        if self.time == "uniform":
            s = torch.rand(count, generator=generator, device=device)
        else:
            s = torch.randn(count, generator=generator, device=device).sigmoid()
        return TIME_SCALE * s

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return torch.lerp(x0, noise, _share(t))

    def loss(self, out: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return (out.float() - (noise - x0)).square().flatten(1).mean(1)


def _share(t: Tensor) -> Tensor:
    return (t / TIME_SCALE)[:, None, None, None]
