"""What a track asks of every denoiser: the form of its input and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import BadValue

Space = Literal["pixel", "latent"]


def examples_of(frames: int) -> str:
    """What examples of so many frames are called, e.g. ``clips of 8 frames``."""
    return "images" if frames == 1 else f"clips of {frames} frames"


@dataclass(frozen=True, kw_only=True)
class DenoiserSpec:
    """The input that a track gives its denoisers; the first argument of `Architecture.build`.

    Letters in shapes: F frames, C channels, R = `resolution`. An example is an image (C, R, R) or, where `frames` is
    above 1, a clip (F, C, R, R). `BadValue` if there is no frame.
    """

    channels: int
    resolution: int  # height and width of x, in pixels or latent cells
    classes: int  # labels run over 0..classes-1 and `classes` itself means "no label"; 0: unconditional
    space: Space
    learn_variance: bool = False  # the output then has 2 * channels
    frames: int = 1  # of a clip; 1: images, whose x has no axis for them

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise BadValue(f"frames is {self.frames}, and a clip has at least one.")

    @property
    def out_channels(self) -> int:
        """Channels of the denoiser's output."""
        return self.channels * (2 if self.learn_variance else 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example as the denoiser sees it: (C, R, R) or (F, C, R, R)."""
        return self._with(self.channels)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Of the denoiser's output for it: the same, with `out_channels`."""
        return self._with(self.out_channels)

    def _with(self, channels: int) -> tuple[int, ...]:
        image = (channels, self.resolution, self.resolution)
        return image if self.frames == 1 else (self.frames, *image)

    def __str__(self) -> str:
        """E.g. ``32x32x4 latent, 1000 classes, learned variance``, or ``8 frames of 16x16x1 pixel, 10 classes``."""
        frames = "" if self.frames == 1 else f"{self.frames} frames of "
        classes = f"{self.classes} classes" if self.classes else "no classes"
        variance = ", learned variance" if self.learn_variance else ""
        return f"{frames}{self.resolution}x{self.resolution}x{self.channels} {self.space}, {classes}{variance}"
