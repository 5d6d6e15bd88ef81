"""The denoising error as metrics: one number each from the errors at all levels of noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..records.denoising import LOG_SNRS, WEIGHTS
from ..records.metric_constants import JACKKNIFE_PARTS
from .quality import Score


@dataclass(frozen=True, eq=False)
class Denoised:
    """What metrics that see the denoiser are given."""

    errors: npt.NDArray[np.float64]  # squared, of x_0: (images, levels)
    log_snrs: tuple[float, ...] = LOG_SNRS  # of the levels


def velocity_error(denoised: Denoised) -> Score:
    """The mean over the levels of (1 + SNR) times the error: that of the velocity, variance preserved."""
    return _score("denoise", denoised)


def image_error(denoised: Denoised) -> Score:
    """The plain mean over the levels."""
    return _score("denoise-image", denoised)


def nats(denoised: Denoised) -> Score:
    """Half the integral over the log-SNR of SNR times the error: the likelihood's weight, in nats per number."""
    return _score("denoise-nats", denoised)


def _score(metric: str, denoised: Denoised) -> Score:
    """A term for each level; the jackknife leaves out a tenth of the images at a time."""
    weights = np.array([WEIGHTS[metric](log_snr) for log_snr in denoised.log_snrs])
    of_images = denoised.errors @ weights
    parts = np.array_split(np.arange(len(of_images)), JACKKNIFE_PARTS) if len(of_images) >= JACKKNIFE_PARTS else []
    without = [float(np.delete(of_images, part).mean()) for part in parts]
    terms = (denoised.errors.mean(0) * weights).tolist()
    return Score.of({"terms": terms, **({"jackknife": without} if without else {})})
