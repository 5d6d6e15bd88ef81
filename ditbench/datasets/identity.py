"""Pixels as latents: what an autoencoder costs and loses shows beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..storage.files import make_folder, write_text
from .examples import AutoencoderFacts

_WORDS = "pixels in [-1, 1]"
_FACTS = AutoencoderFacts(
    name="identity",
    sha256=hashlib.sha256(_WORDS.encode()).hexdigest(),
    scale=1.0,
    factor=1,
    channels=3,
    kind="identity",
    statistics="deterministic",
)


class _Nothing(nn.Module):
    """No weights, but a device."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("device", torch.zeros(0), persistent=False)


@dataclass(frozen=True, eq=False)
class Identity:
    """An `AutoencoderNetwork` of which images are their own latents; half precision holds each byte of them."""

    module: nn.Module = field(default_factory=_Nothing)
    facts: AutoencoderFacts = _FACTS

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images (n, 3, R, R)."""
        return (images,)

    def decode(self, latents: Tensor) -> Tensor:
        """The latents (n, 3, R, R)."""
        return latents

    def save(self, folder: Path) -> None:
        """A folder that says so."""
        make_folder(folder)
        write_text(folder / "README.txt", f"The latents are {_WORDS}: there is nothing to load.\n")


def open_identity(place: str = "", offline: bool = False) -> Identity:
    """It has no weights, so every place is as good as none."""
    return Identity()
