"""The denoising error in records: at which levels of noise it is measured, how it is weighed, and what is kept of it.

With x_t = a x_0 + s e, the log signal-to-noise ratio is log(a^2 / s^2), whatever the objective. The error at a level is
the squared error of the denoiser's x_0, per colour of a pixel (or cell of a latent), the mean over images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from ..storage.schema import Count, Frozen, Number

LEVELS = 16
LOG_SNRS = tuple(round(-5 + 12 * i / (LEVELS - 1), 6) for i in range(LEVELS))
POINTS = tuple(round(0.1 * i, 1) for i in range(1, 11))  # shares of the budget at which the EMA is looked at
GRID, UNLABELLED = f"logsnr{LEVELS}", "-null"  # in the protocol's name: the grid; that the images' labels are not known

Levels = Annotated[list[Number], Field(min_length=LEVELS, max_length=LEVELS)]  # a number for each


def _velocity(log_snr: float) -> float:
    """The error of v = a e - s x_0 with a^2 + s^2 = 1 is 1 + SNR times that of x_0."""
    return (1 + math.exp(log_snr)) / LEVELS


def _image(log_snr: float) -> float:
    return 1 / LEVELS


def _likelihood(log_snr: float) -> float:
    """Half the integral over the log-SNR of SNR times the error, in nats, by trapezoids (Kingma et al., 2021)."""
    step = LOG_SNRS[1] - LOG_SNRS[0]
    return 0.5 * math.exp(log_snr) * step * (0.5 if log_snr in (LOG_SNRS[0], LOG_SNRS[-1]) else 1)


WEIGHTS: Mapping[str, Callable[[float], float]] = {
    "denoise": _velocity,
    "denoise-image": _image,
    "denoise-nats": _likelihood,
}  # by metric: what the error at a log-SNR counts in its one number, which is the sum


def protocol_features(labelled: bool) -> str:
    """What stands in a denoising error's full name where other metrics have their extractor."""
    return GRID if labelled else GRID + UNLABELLED


class ErrorCurve(Frozen):
    """The error of one set of weights on one set of images, by `LOG_SNRS`."""

    weights: Literal["ema", "raw"]
    images: Literal["held-out", "training"]
    errors: Levels  # mean over the images
    standard_errors: Levels  # of these means


class ErrorPoint(Frozen):
    """The EMA's error on a few held-out images, on the way."""

    at: Annotated[Number, Field(gt=0, le=1)]  # share of the budget
    steps: Count
    images: Count
    seconds: Number
    flops: Number
    errors: Levels

    @property
    def error(self) -> float:
        """The one number that ranks, of these errors."""
        return math.fsum(_velocity(log_snr) * one for log_snr, one in zip(LOG_SNRS, self.errors, strict=True))


class Denoising(Frozen):
    """What the denoising error is of a run: every curve of as many images."""

    images: Count
    labelled: bool  # whether the denoiser was told their labels, or the null label
    curves: Annotated[list[ErrorCurve], Field(min_length=1)]
    seconds: Number  # that the curves took; the first is found with the samples, and not in it
    points: list[ErrorPoint] = []
    points_images: Count = 0
