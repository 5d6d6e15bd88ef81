"""The autoencoder between images and latents, on its device: whichever plugin has opened it.

Letters in shapes: N images of R x R pixels, C channels of latents, h = w = R / factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydantic
import torch
from torch import Tensor, nn

from ..builtins import AUTOENCODERS
from ..components import Autoencoder, load
from ..errors import BadFile, BadValue, PluginFault
from ..registry import Registry, pick
from ..runtime.precision import Precision
from ..storage.files import is_folder
from ..storage.schema import first_fault
from .decoder import decode, in_parts
from .examples import AutoencoderFacts
from .latent_map import LatentMap
from .pixels import from_bytes

_BUILT_IN = {one.name: one for one in AUTOENCODERS}
_USUAL = "kl"  # what a place without a kind is of


class AutoencoderNetwork(Protocol):
    """What `Autoencoder.open` returns: a network with its weights, as it computes in float32.

    Images are (n, 3, R, R) in [-1, 1]; latents are as the network has them, not scaled.
    """

    @property
    def facts(self) -> AutoencoderFacts:
        """What it is."""
        ...

    @property
    def module(self) -> nn.Module:
        """Its weights, which are moved to a device."""
        ...

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Mean and deviation of the posterior, (n, C, h, w) each; if deterministic, the latents alone."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, R, R) of latents (n, C, h, w)."""
        ...

    def save(self, folder: Path) -> None:
        """Write it into a new folder, so that `open` finds the same there, offline."""
        ...


@dataclass(frozen=True, eq=False)
class Codec:
    """An autoencoder on its device, which takes a few images at a time. Latents are made in whole float32."""

    facts: AutoencoderFacts
    network: AutoencoderNetwork
    precision: Precision = "float32"  # of decoding
    seen: LatentMap | None = None  # what a denoiser sees of latents; None: by the autoencoder's own numbers

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        weights = (*self.network.module.parameters(), *self.network.module.buffers())
        return weights[0].device if weights else torch.device("cpu")

    @property
    def latent_map(self) -> LatentMap:
        """What is undone before decoding."""
        return self.seen or self.facts.latent_map

    def cells(self, resolution: int) -> int:
        """h = w of the latents of images of that size; `BadValue` if it does not take them."""
        factor, only = self.facts.factor, self.facts.resolution
        if only is not None and resolution != only:
            raise BadValue(f"{self.facts.name!r} takes images of {only} pixels alone, not of {resolution}.")
        if resolution % factor:
            raise BadValue(
                f"Images of {resolution} pixels don't divide into the latent cells of {self.facts.name!r}: "
                f"give a multiple of {factor}."
            )
        return resolution // factor

    def encode(self, pixels: Tensor, part: int | None = None) -> tuple[Tensor, ...]:
        """Mean and deviation of the posterior, or the latents alone: each (N, C, h, w) float32, on the device.

        pixels: (N, 3, R, R) uint8. part: images in one pass. `BadValue` if it does not take R; `PluginFault` if the
        network gives something else than its facts say.
        """
        side = self.cells(pixels.shape[-1])
        found = in_parts(self._statistics, pixels, self.device, "float32", part)
        counted, expected = len(found), (len(pixels), self.facts.channels, side, side)
        for of in found:
            self._expect("gives latents of", of, expected)
        if counted != (2 if self.facts.statistics == "posterior" else 1):
            raise PluginFault(f"The autoencoder {self.facts.name!r} gives {counted} tensors: {self.facts.statistics}?")
        return found

    def decode(self, latents: Tensor, part: int | None = None) -> Tensor:
        """Pixels in [-1, 1], (N, 3, R, R) float32 on the device, of what a denoiser sees of latents (N, C, h, w)."""
        pixels = decode(self.network.decode, latents, self.latent_map, self.device, self.precision, part)
        side = latents.shape[-1] * self.facts.factor
        self._expect("makes images of", pixels, (len(latents), 3, side, side))
        return pixels

    def save(self, folder: Path) -> None:
        """Write it so that `load_autoencoder` finds the same again."""
        self.network.save(folder)

    def check(self, resolution: int) -> None:
        """One image there and back: a `DitbenchError` in a line if shapes or numbers are not what they should be."""
        draw = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (1, 3, resolution, resolution), dtype=torch.uint8, generator=draw)
        latents = self.encode(pixels)[0]
        self.check_numbers(latents)
        if not self.decode(self.latent_map.apply(latents)).isfinite().all():
            raise BadFile(f"The autoencoder {self.facts.name!r} makes images that are not all numbers (NaN).")

    def check_numbers(self, latents: Tensor) -> None:
        """`BadFile` for latents that are no numbers, or that half precision, in which they are kept, can't hold."""
        if latents.isnan().any():
            raise BadFile(f"The autoencoder {self.facts.name!r} makes latents that are not all numbers (NaN).")
        if not latents.half().isfinite().all():
            raise BadFile(f"The autoencoder {self.facts.name!r} makes latents that half precision can't hold.")

    def _expect(self, what: str, found: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(found.shape) != shape:
            raise PluginFault(f"The autoencoder {self.facts.name!r} {what} {tuple(found.shape)}, not {shape}.")

    def _statistics(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(of.float() for of in self.network.encode(from_bytes(pixels)))


def choose(text: str, registry: Registry) -> tuple[Autoencoder, str]:
    """The autoencoder and its place that ``NAME[:PLACE]`` spells; a place alone is of an AutoencoderKL.

    `BadValue` if the place is missing, or if there is one where none can be.
    """
    name, _, place = text.partition(":")
    if name not in registry.autoencoders and not _may_be_place(text):
        pick("autoencoder", name, registry.autoencoders)
    if name not in registry.autoencoders:
        name, place = _USUAL, text
    found = registry.autoencoders[name]
    if found.place == "required" and not place:
        raise BadValue(f"Where are the weights of the autoencoder {name!r}? Write {name}:PLACE, a folder or a name.")
    if found.place == "none" and place:
        raise BadValue(f"The autoencoder {name!r} has no weights; leave out {place!r}.")
    return found, place


def _may_be_place(text: str) -> bool:
    """Whether it may be a folder or a name on the hub, and no misspelled kind."""
    return is_folder(Path(text)) or "/" in text.partition(":")[0] or "\\" in text or text[:1] in (".", "~")


def load_autoencoder(
    place: str, offline: bool = False, device: torch.device | None = None, kind: str | Autoencoder = _USUAL
) -> Codec:
    """The autoencoder of that kind, opened at a place; float32.

    Raises `BadFile`, with the way out, if its weights are missing, damaged or incomplete; `PluginFault` if what a
    plugin opens is no `AutoencoderNetwork`.
    """
    opener = kind if isinstance(kind, Autoencoder) else _of_kind(kind)
    network: AutoencoderNetwork = load(opener.open)(place, offline)
    if not isinstance(getattr(network, "facts", None), AutoencoderFacts):
        raise PluginFault(f"The autoencoder {opener.name!r} opens {type(network).__name__}, which has no facts.")
    if missing := [part for part in ("module", "encode", "decode", "save") if not hasattr(network, part)]:
        raise PluginFault(f"The autoencoder {opener.name!r} opens {type(network).__name__}, which has no {missing[0]}.")
    try:
        facts = AutoencoderFacts.model_validate({**network.facts.model_dump(), "kind": opener.name})
    except pydantic.ValidationError as error:
        raise PluginFault(f"The facts of the autoencoder {opener.name!r} are wrong: {first_fault(error)}.") from None
    network.module.eval().requires_grad_(False).to(device or "cpu")
    return Codec(facts, network)


def load_again(folder: Path, facts: AutoencoderFacts, device: torch.device | None = None) -> Codec:
    """What made latents, out of the folder that it was saved to; `BadFile` if that is another one."""
    found = load_autoencoder(str(folder), True, device, facts.kind)
    if found.facts.sha256 != facts.sha256:
        raise BadFile(f"{str(folder)!r} is not the autoencoder that made the latents: remove it.")
    return Codec(facts, found.network)  # which may be called otherwise than the folder


def _of_kind(name: str) -> Autoencoder:
    """One of ours, without a look at plugins, or theirs."""
    return _BUILT_IN[name] if name in _BUILT_IN else pick("autoencoder", name, Registry.installed().autoencoders)
