"""What a denoiser sees of latents: an affine map by channel, and back before they are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LatentMap:
    """x = (z - shift) * factor: z is an autoencoder's latent, x what a denoiser sees of it.

    Each has one number for all channels, or one for each; no shift is none. Tensors are (..., C, h, w).
    """

    factor: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = ()

    def apply(self, z: Tensor) -> Tensor:
        """What a denoiser sees of latents."""
        moved = z - _by_channel(self.shift, z) if self.shift else z
        return moved * _by_channel(self.factor, z)

    def undo(self, x: Tensor) -> Tensor:
        """The latents of what a denoiser sees."""
        z = x / _by_channel(self.factor, x)
        return z + _by_channel(self.shift, x) if self.shift else z

    def statistics(self, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
        """Mean and deviation (C,) of what a denoiser sees, of those of the latents."""
        factor, shift = np.array(self.factor), np.array(self.shift or (0.0,))
        return (mean - shift) * factor, std * factor

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> LatentMap:
        """The same and then (x - mean) / std, by channel."""
        factor = np.broadcast_to(self.factor, len(std))
        shift = np.broadcast_to(self.shift or (0.0,), len(std))
        return LatentMap(tuple((factor / std).tolist()), tuple((shift + np.array(mean) / factor).tolist()))


def _by_channel(values: tuple[float, ...], like: Tensor) -> float | Tensor:
    """One number as it is: a tensor would be divided by in another way on a GPU, and move the last bit."""
    if len(values) == 1:
        return values[0]
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None, None]
