"""An autoencoder: what makes latents of images, and images of latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..names import check_name, check_reference
from .references import ObjectReference


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """What a plugin registers: how an autoencoder is opened.

    ``open(place, offline)`` takes a folder's path, or a name that the plugin understands; empty where `place` is none.
    It returns a `ditbench.AutoencoderNetwork`, whose ``facts`` say what the weights found there are: their sha256,
    factor and channels, and whether they give a posterior's mean and deviation or one latent. ``open`` must read again
    what that network's ``save`` has written, offline. It raises `BadValue` for a place that is none of its own.
    """

    name: str
    open: ObjectReference
    place: Literal["none", "required"] = "required"  # of the weights
    licence: str = ""  # of the code; weights have their own
    description: str = ""

    def __post_init__(self) -> None:
        check_name("autoencoder", self.name)
        check_reference("autoencoder", self.name, self.open)
