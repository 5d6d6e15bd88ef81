"""The autoencoder between images and latents: diffusers' `AutoencoderKL`, pinned by what it computes.

Letters in shapes: N images of R x R pixels, C channels of latents, h = w = R / factor.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BadFile, BadValue, one_line
from ..runtime.precision import Precision
from ..storage.files import is_folder, whole_path
from .decoder import decode, in_parts
from .examples import AutoencoderFacts
from .pixels import from_bytes

_UNSUPPORTED = ("shift_factor", "latents_mean", "latents_std")  # other ways to bring latents to unit variance


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """An autoencoder on its device, which takes a few images at a time. Latents are made in whole float32."""

    facts: AutoencoderFacts
    network: Any  # AutoencoderKL
    precision: Precision = "float32"  # of decoding

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.network.device
        return device

    def cells(self, resolution: int) -> int:
        """h = w of the latents of images of that size; `BadValue` if they don't divide."""
        factor = self.facts.factor
        if resolution % factor:
            raise BadValue(
                f"Images of {resolution} pixels don't divide into the latent cells of {self.facts.name!r}: "
                f"give a multiple of {factor}."
            )
        return resolution // factor

    def encode(self, pixels: Tensor, part: int | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior, not scaled: twice (N, C, h, w) float32, on the device.

        pixels: (N, 3, R, R) uint8. part: images in one pass. Raises `BadValue` if R is no multiple of the factor.
        """
        self.cells(pixels.shape[-1])
        moments = in_parts(self._moments, pixels, self.device, "float32", part)
        mean, std = moments.chunk(2, dim=1)
        return mean, std

    def decode(self, latents: Tensor, part: int | None = None) -> Tensor:
        """Pixels in [-1, 1], (N, 3, R, R) float32 on the device, of scaled latents (N, C, h, w)."""
        return decode(self.network, latents, self.precision, part)

    def save(self, folder: Path) -> None:
        """Write it as diffusers does, so that `load_autoencoder` finds the same again."""
        self.network.save_pretrained(folder, safe_serialization=True)

    def _moments(self, pixels: Tensor) -> Tensor:
        posterior = self.network.encode(from_bytes(pixels)).latent_dist
        return torch.cat([posterior.mean, posterior.std], dim=1)


def load_autoencoder(name_or_path: str, offline: bool = False, device: torch.device | None = None) -> Autoencoder:
    """The autoencoder of that name on the Hugging Face hub, or in a folder. Safetensors alone; float32.

    Raises `BadFile`, with the way out, if it is missing, damaged, incomplete, or scales latents in another way than by
    one factor.
    """
    if name_or_path.startswith("~"):
        name_or_path = str(whole_path(name_or_path))
    network = _read(name_or_path, offline)
    config = network.config
    for field in _UNSUPPORTED:
        if config.get(field):
            raise BadFile(f"The autoencoder {name_or_path!r} has a {field}, which ditbench does not support.")
    scale = config.get("scaling_factor")
    if not scale:
        raise BadFile(f"The autoencoder {name_or_path!r} has no scaling_factor: add it to its config.json.")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < float("inf"):
        raise BadFile(f"The autoencoder {name_or_path!r} has a scaling_factor of {scale!r}, no number above 0.")
    sides = (config["in_channels"], config["out_channels"])
    if sides != (3, 3):
        raise BadFile(f"The autoencoder {name_or_path!r} is for images of {sides} channels, not RGB.")
    network = network.eval().requires_grad_(False)
    folder = Path(name_or_path)
    facts = AutoencoderFacts(
        name=folder.resolve().name if is_folder(folder) else name_or_path,
        sha256=_identity(network),
        scale=float(scale),
        factor=1 << (len(config["block_out_channels"]) - 1),
        channels=int(config["latent_channels"]),
    )
    return Autoencoder(facts, network.to(device or "cpu"))


def _read(name_or_path: str, offline: bool) -> Any:
    here = is_folder(Path(name_or_path))
    if not here and (name_or_path.count("/") != 1 or name_or_path[0] in "./~"):
        raise BadFile(f"There is no folder {name_or_path!r}, and the hub's names look like 'owner/name'.")
    how = {"use_safetensors": True, "local_files_only": offline or here}
    try:
        kind = _kl().load_config(name_or_path, local_files_only=how["local_files_only"]).get("_class_name")
        if kind != "AutoencoderKL":
            raise BadFile(f"The autoencoder {name_or_path!r} is a {kind}; ditbench takes diffusers' AutoencoderKL.")
        with torch.random.fork_rng(devices=[]):  # it initialises before it loads
            network, found = _kl().from_pretrained(
                name_or_path, **how, torch_dtype=torch.float32, low_cpu_mem_usage=False, output_loading_info=True
            )
    except BadFile:
        raise
    except Exception as error:  # a damaged file or an unreachable hub can fail in many ways
        reason = one_line(error).rstrip(".")
        raise BadFile(f"The autoencoder {name_or_path!r} can't be read ({reason}). {_way_out(here, offline)}") from None
    wrong = [key for fault in found.values() for key in fault]
    if wrong:
        raise BadFile(f"The autoencoder {name_or_path!r}: its weights don't fit its config.json, e.g. {wrong[0]}.")
    return network


def _kl() -> Any:
    """diffusers' class, which is fetched when one is wanted: it takes a second to import, and most runs have pixels."""
    return pkgutil.resolve_name("diffusers:AutoencoderKL")


def _way_out(here: bool, offline: bool) -> str:
    files = "config.json and diffusion_pytorch_model.safetensors"
    if here:
        return f"The folder should hold its {files}, as diffusers saves them."
    if offline:
        return "Run once without `offline` to fetch it, or give a folder that holds it."
    return f"Without a network, give a folder that holds its {files}."


def _identity(network: Any) -> str:
    """sha256 of what it computes: name, shape and float32 bytes of each weight, and what its config has changed.

    So the file of weights may be written anew, in another order or with other metadata, and stay the same autoencoder.
    """
    usual = {name: parameter.default for name, parameter in inspect.signature(_kl().__init__).parameters.items()}
    config = {key: _plain(value) for key, value in network.config.items() if not key.startswith("_")}
    changed = {key: value for key, value in config.items() if value != _plain(usual.get(key))}
    content = hashlib.sha256(json.dumps(changed, sort_keys=True).encode())
    for name, weight in sorted(network.state_dict().items()):
        content.update(f"{name} {tuple(weight.shape)}".encode())
        content.update(weight.float().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
