"""Latents back to pixels, a few images at a time. Of an exported pipeline, too, so this imports little."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..runtime.precision import Precision, computing
from .latent_map import LatentMap

PART = {"cpu": 1, "cuda": 32}  # images in one pass; on a CPU more are slower


def decode(
    network: Callable[[Tensor], Tensor],
    latents: Tensor,
    seen: LatentMap,
    device: torch.device,
    precision: Precision,
    part: int | None = None,
) -> Tensor:
    """Pixels in [-1, 1], (N, 3, R, R) float32 on the device, of what a denoiser sees of latents (N, C, h, w).

    network: makes images of an autoencoder's latents.
    """

    def pixels(few: Tensor) -> tuple[Tensor, ...]:
        return (network(seen.undo(few.float())).float().clamp(-1, 1),)

    (found,) = in_parts(pixels, latents, device, precision, part)
    return found


@torch.inference_mode()
def in_parts(
    compute: Callable[[Tensor], tuple[Tensor, ...]],
    x: Tensor,
    device: torch.device,
    precision: Precision,
    part: int | None = None,
) -> tuple[Tensor, ...]:
    """What `compute` makes of x (N, ...), on the device, so many images in one pass."""
    parts = torch.split(x, part or PART.get(device.type, 1))
    with computing(precision, device):
        found = [compute(few.to(device)) for few in parts]
    return tuple(map(torch.cat, zip(*found, strict=True)))
