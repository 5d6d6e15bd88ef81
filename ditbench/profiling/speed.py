"""What a run asks of a machine, and how fast the machine is at it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..denoiser_spec import DenoiserSpec
from ..records.facts import Cost


@dataclass(frozen=True)
class Workload:
    """What a run asks of a machine, as `workload.py` counts it."""

    spec: DenoiserSpec
    cost: Cost
    recomputed_macs: int  # per training image, by checkpointing; they take time, and no budget counts them
    evaluations: int  # of the denoiser per sampled image
    image_shape: tuple[int, ...]  # (C, H, W) of what samples become, or (F, C, H, W)
    decoder_macs: int | None  # to make an image of a latent; 0: there are none; None: not known
    precision: str
    compiled: bool


@dataclass(frozen=True)
class Speed:
    """Images per second of one device: trained on, and denoised once."""

    training: float | None
    denoising: float | None
    source: Literal["measured", "recorded", "estimated", "unknown"]
    by: str
