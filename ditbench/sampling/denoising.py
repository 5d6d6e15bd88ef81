"""The denoising error: how far from an image is what a denoiser makes of it, at fixed levels of noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..denoiser.strips import as_strips
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue
from ..records.denoising import LOG_SNRS
from ..runtime.precision import Precision, products
from ..runtime.progress import Diverged
from .walking import GuidedDenoiser

Errors = npt.NDArray[np.float64]  # (images, levels)
_STREAM = 0x0D19  # keeps this noise apart from that of samples and labels


def level_noise(level: int, images: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (images, *shape), float32, on the CPU: the same for all runs, seeds and architectures."""
    draws = [
        np.random.Generator(np.random.Philox(key=[0, index], counter=[0, 0, level, _STREAM])) for index in range(images)
    ]
    return torch.from_numpy(np.stack([draw.standard_normal(shape, dtype=np.float32) for draw in draws]))


@torch.inference_mode()
def denoising_errors(
    denoiser: nn.Module,
    spec: DenoiserSpec,
    objective: Any,
    x0: Tensor,
    y: Tensor,
    batch_size: int,
    precision: Precision = "float32",
) -> Errors:
    """The squared error of the x_0 that the denoiser means, the mean over an image's numbers: (N, levels) float64.

    x0 (N, [F,] C, H, W) and y (N,) lie where the denoiser does. Raises `Diverged` if an error is infinite or NaN,
    `BadValue` if the objective does not tell its levels.
    """
    check_tells_levels(objective)
    x0, denoiser = as_strips(x0), denoiser.eval()
    found = np.empty((len(x0), len(LOG_SNRS)))
    for number, log_snr in enumerate(LOG_SNRS):
        level, noise = objective.level(log_snr), level_noise(number, len(x0), x0.shape[1:]).to(x0.device)
        parts = math.ceil(len(x0) / batch_size)
        for rows in np.array_split(np.arange(len(x0)), parts):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            x = level.alpha * x0[part] + level.sigma * noise[part]
            with products(precision):
                out = GuidedDenoiser(denoiser, spec, y[part], precision=precision)(x, level.t)
            error = (objective.image(out, x, level) - x0[part]).square().flatten(1).mean(1)
            found[part, number] = error.double().cpu()
    if not np.isfinite(found).all():
        raise Diverged("a denoising error became infinite or NaN")
    return found


def check_tells_levels(objective: Any) -> None:
    """`BadValue` if an objective has not the two methods that the denoising error needs."""
    if not (hasattr(objective, "level") and hasattr(objective, "image")):
        raise BadValue(
            f"The objective {type(objective).__name__} has not the methods 'level' and 'image', by which the denoising "
            "error is measured: leave the metric out of the track."
        )
