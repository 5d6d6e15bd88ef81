"""The sampler: an example to put yours in the place of."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from ditbench import TIME_SCALE, Walk


def sample(walk: Walk) -> Tensor:
    """From noise (N, C, H, W) to images: the midpoint method from s = 1 to 0, where t = 1000 s.

    `walk.denoise(x, t)` is the denoiser's output, guided if the track says so, which for this objective is the
    velocity dx/ds. A sampler that draws noise takes it from `walk.streams()`, one generator per image.
    """
    x = walk.noise
    for here, there in pairwise(torch.linspace(1, 0, walk.steps + 1).tolist()):
        step, middle = there - here, (here + there) / 2
        halfway = x + step / 2 * walk.denoise(x, torch.tensor(TIME_SCALE * here))
        x = x + step * walk.denoise(halfway, torch.tensor(TIME_SCALE * middle))
    return x
