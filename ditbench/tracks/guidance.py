"""Classifier-free guidance (Ho & Salimans, 2022): formula, scale, schedule and channels, all on the record.

With u the denoiser's output without a label and c with one, an output is guided as u + w (c - u). DiT, MDT and
DiffiT state w; U-ViT states s of c + s (c - u), which is w = 1 + s. w = 1 is no guidance.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from ..storage.schema import Frozen

T = 1000.0  # the end of time, where all is noise


class Guidance(Frozen, strict=True):
    """How samples are guided. Part of a track and of its hash."""

    scale: Annotated[float, Field(ge=0, le=1000)]
    formula: Literal["u + w(c - u)", "c + s(c - u)"] = "u + w(c - u)"  # what `scale` is: w, or s = w - 1
    schedule: Literal["constant", "power-cosine", "interval"] = "constant"
    power: Annotated[float, Field(gt=0, le=1000)] = 4.0  # of power-cosine
    interval: Annotated[tuple[float, float], Field(strict=False)] = (0.0, T)  # the times t, ends included, to guide at
    channels: Annotated[int, Field(gt=0)] | None = None  # guide only so many, the first; None: all

    @pydantic.model_validator(mode="after")
    def _sensible(self) -> Guidance:
        low, high = self.interval
        if not 0 <= low < high <= T:
            raise ValueError(f"interval {low} to {high} does not lie in 0..{T:.0f}")
        return self

    def weight(self, t: float) -> float:
        """w at time t in [0, 1000].

        ``power-cosine`` (MDT, DiffiT): 1 + (w - 1) (1 - cos(pi (1 - t/1000)^power)) / 2, so that noise is not
        guided and w is reached at t = 0. ``interval`` (Kynkäänniemi et al., 2024): w inside, 1 outside.
        """
        w = self.scale if self.formula == "u + w(c - u)" else 1 + self.scale
        if self.schedule == "power-cosine":
            return 1 + (w - 1) * 0.5 * (1 - math.cos(math.pi * (1 - t / T) ** self.power))
        if self.schedule == "interval" and not self.interval[0] <= t <= self.interval[1]:
            return 1.0
        return w
