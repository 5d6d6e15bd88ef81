"""Latents back to pixels, a few images at a time. Of an exported pipeline, too, so this imports little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..runtime.precision import Precision, computing

PART = {"cpu": 1, "cuda": 32}  # images in one pass; on a CPU more are slower


def decode(network: Any, latents: Tensor, precision: Precision, part: int | None = None) -> Tensor:
    """Pixels in [-1, 1], (N, 3, R, R) float32 on the device of `network`, an AutoencoderKL, of scaled latents."""
    scale = float(network.config.scaling_factor)

    def pixels(few: Tensor) -> Tensor:
        decoded: Tensor = network.decode(few.float() / scale).sample
        return decoded.float().clamp(-1, 1)

    return in_parts(pixels, latents, network.device, precision, part)


@torch.inference_mode()
def in_parts(
    compute: Callable[[Tensor], Tensor], x: Tensor, device: torch.device, precision: Precision, part: int | None = None
) -> Tensor:
    """What `compute` makes of x (N, ...), on the device, so many images in one pass."""
    parts = torch.split(x, part or PART.get(device.type, 1))
    with computing(precision, device):
        return torch.cat([compute(few.to(device)) for few in parts])
