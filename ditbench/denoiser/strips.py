"""Clips as all but networks see them: strips of film, one tall image each.

A network sees a clip's frames as an axis, (N, F, C, H, W). Objectives, samplers and guidance see (N, C, F*H, W), so
that they know of images alone, and split channels where they always did. A strip's rows are its frames', in order.
"""

from __future__ import annotations

from torch import Tensor

_IMAGES = 4  # axes of a batch of them


def as_strips(clips: Tensor) -> Tensor:
    """Clips (N, F, C, H, W) as (N, C, F*H, W); a batch of images (N, C, H, W) as it is."""
    return clips if clips.ndim == _IMAGES else clips.transpose(1, 2).flatten(2, 3)


def as_clips(strips: Tensor, frames: int) -> Tensor:
    """The inverse of `as_strips`; with one frame, images as they are."""
    return strips if frames == 1 else strips.view(*strips.shape[:2], frames, -1, strips.shape[-1]).transpose(1, 2)


def clips_like(x: Tensor, strips: Tensor) -> Tensor:
    """Strips as clips of as many frames as those of `x`; images, where x is of images."""
    return as_clips(strips, 1 if x.ndim == _IMAGES else x.shape[1])


def strip_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, F*H, W) of an example (F, C, H, W), (C, H, W) of one (C, H, W)."""
    *frames, channels, height, width = shape
    return channels, height * (frames[0] if frames else 1), width
