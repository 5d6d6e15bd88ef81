"""Whether samples lie closer to training images than real images do that were never trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import BadValue
from ..records.metric_constants import CALIBRATED_ON, MEMORISED_QUANTILE, SEED
from .features import Features
from .quality import Score

_ROWS = 250  # of distances at a time


def memorised(fake: Features, real: Features) -> Score:
    """The share of samples that lie as close to a training image as only 1 % of held-out images do.

    Closeness is the distance to the nearest training image over that to the nearest held-out image, in the features.
    Held-out images, which show what is usual, leave themselves out. Raises `BadValue` without held-out images.
    """
    if real.held_out is None:
        raise BadValue("Metric 'memorised' needs held-out images, which the data has not.")
    trained_on, aside = (one.outputs["features"].to(real.device).double() for one in (real, real.held_out))
    usual = _closeness(aside[_some(len(aside))], trained_on, aside, itself=True)
    limit = usual.quantile(MEMORISED_QUANTILE)
    found = _closeness(fake.outputs["features"].to(real.device).double(), trained_on, aside)
    hits = int((found < limit).sum())
    return Score.of({"counts": [hits, len(found)]}, held_out=len(aside), calibrated_on=len(usual))


def _some(count: int) -> Tensor:
    """The held-out images that show what is usual: all, or so many that are drawn once for all."""
    return torch.from_numpy(np.sort(np.random.default_rng(SEED).permutation(count)[:CALIBRATED_ON]))


def _closeness(images: Tensor, trained_on: Tensor, aside: Tensor, itself: bool = False) -> Tensor:
    """By image, from features (n, F) each: (n,). An image of both sets is at distance 0 from either, and not close.

    itself: the images are some of those aside, whose nearest is the second then.
    """
    parts = torch.split(images, _ROWS)
    nearest = torch.cat([torch.cdist(part, trained_on).amin(1) for part in parts])
    other = torch.cat([torch.cdist(part, aside).kthvalue(1 + itself).values for part in parts])
    return torch.where(other > 0, nearest / other, torch.ones_like(nearest))
