"""diffusers' autoencoders: `AutoencoderKL`, `AutoencoderDC` and `AutoencoderRAE`, pinned by what they compute.

A place is a folder as diffusers saves it, or a name on the Hugging Face hub. Safetensors alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import math
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import BadFile, BadValue, one_line
from ..extras import install
from ..storage.files import is_folder, whole_path
from .examples import AutoencoderFacts

_KINDS = {"AutoencoderKL": "kl", "AutoencoderDC": "dc", "AutoencoderRAE": "rae"}
_VIT = {384: "s", 768: "b", 1024: "l", 1152: "so400m", 1536: "g"}  # widths of encoders, by the names of their sizes


@dataclass(frozen=True, eq=False)
class _Network:
    """An `AutoencoderNetwork`."""

    facts: AutoencoderFacts
    module: Any

    def save(self, folder: Path) -> None:
        """As diffusers does it."""
        self.module.save_pretrained(folder, safe_serialization=True)


class _Posterior(_Network):
    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Mean and standard deviation."""
        posterior = self.module.encode(images).latent_dist
        return posterior.mean, posterior.std

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.module.decode(latents).sample
        return decoded


class _Deterministic(_Network):
    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """The latents."""
        return (self.module.encode(images).latent,)

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.module.decode(latents).sample
        return decoded


class _Features(_Deterministic):
    """Its images are in [0, 1]."""

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """The encoder's features, as the network's own buffers normalise them."""
        return super().encode((images + 1) / 2)

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(latents) * 2 - 1


def open_kl(place: str, offline: bool = False) -> _Network:
    """An AutoencoderKL; `BadFile`, with the way out, if it is missing, damaged, incomplete, or scaled as none here."""
    module, config = _opened("AutoencoderKL", place, offline)
    if not config.get("scaling_factor"):
        raise BadFile(f"The autoencoder {place!r} has no scaling_factor: add it to its config.json.")
    _check_rgb(place, (config["in_channels"], config["out_channels"]))
    shift, std = _shifts(place, config)
    facts = _facts(
        place,
        module,
        "posterior",
        factor=1 << (len(config["block_out_channels"]) - 1),
        channels=int(config["latent_channels"]),
        shift=shift,
        std=std,
    )
    return _Posterior(facts, module)


def open_dc(place: str, offline: bool = False) -> _Network:
    """An AutoencoderDC (DC-AE, 2410.10733), which gives one latent for an image; `BadFile` as for `open_kl`."""
    module, config = _opened("AutoencoderDC", place, offline)
    _check_rgb(place, (config["in_channels"],))
    channels = int(config["latent_channels"])
    return _Deterministic(
        _facts(place, module, "deterministic", factor=module.spatial_compression_ratio, channels=channels), module
    )


def open_rae(place: str, offline: bool = False) -> _Network:
    """An AutoencoderRAE (2510.11690): features of a frozen encoder, which its decoder makes images of.

    It takes images of one size. `BadFile` as for `open_kl`; `BadValue` without transformers, which has the encoders.
    """
    if importlib.util.find_spec("transformers") is None:
        raise BadValue(f"The autoencoder 'rae' needs 'transformers': {install('ditbench[rae]')}.")
    module, config = _opened("AutoencoderRAE", place, offline)
    _check_rgb(place, (config["num_channels"],))
    if not config["reshape_to_2d"]:
        raise BadFile(f"The autoencoder {place!r} gives rows of tokens; ditbench takes maps: set its reshape_to_2d.")
    width, patch = config["encoder_hidden_size"], config["encoder_patch_size"]
    # what was multiplied with before the network gave it is its own business: `scale` stays 1
    facts = _facts(
        place,
        module,
        "deterministic",
        factor=module.decoder_patch_size,
        channels=int(width),
        resolution=module.decoder_image_size,
        trained_with=(f"{config['encoder_type']}-vit-{_VIT.get(width, width)}-{patch}",),
        scale=1.0,
    )
    return _Features(facts, module)


def _facts(
    place: str, module: Any, statistics: Literal["posterior", "deterministic"], scale: float | None = None, **more: Any
) -> AutoencoderFacts:
    return AutoencoderFacts(
        name=_named(place),
        sha256=_identity(module),
        scale=_scale(place, module.config) if scale is None else scale,
        statistics=statistics,
        **more,
    )


def _named(place: str) -> str:
    """A folder without the way to it; a name on the hub as it is."""
    folder = Path(_whole(place))
    return folder.resolve().name if is_folder(folder) else place


def _whole(place: str) -> str:
    return str(whole_path(place)) if place.startswith("~") else place


def _check_rgb(place: str, sides: Sequence[int]) -> None:
    if set(sides) != {3}:
        raise BadFile(f"The autoencoder {place!r} is for images of {tuple(sides)} channels, not RGB.")


def _scale(place: str, config: Any) -> float:
    """What latents are multiplied with; 1 where the config says nothing."""
    scale = config.get("scaling_factor") or 1.0
    if not _is_number(scale) or scale <= 0:
        raise BadFile(f"The autoencoder {place!r} has a scaling_factor of {scale!r}, no number above 0.")
    return float(scale)


def _shifts(place: str, config: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shift and std by shift_factor, or by latents_mean and latents_std: (z - shift) / std, then the scale."""
    channels, shift = int(config["latent_channels"]), config.get("shift_factor")
    means, stds = config.get("latents_mean"), config.get("latents_std")
    if means is None and stds is None:
        if shift is not None and not _is_number(shift):
            raise BadFile(f"The autoencoder {place!r} has a shift_factor of {shift!r}, no number.")
        return ((float(shift),) if shift else ()), ()
    if shift:
        raise BadFile(f"The autoencoder {place!r} has both shift_factor and latents_mean: nobody knows which is meant.")
    for field, values in (("latents_mean", means), ("latents_std", stds)):
        if not isinstance(values, (list, tuple)) or len(values) != channels or not all(map(_is_number, values)):
            raise BadFile(f"The autoencoder {place!r} has a {field} that is not a number for each channel.")
    if min(stds) <= 0:
        raise BadFile(f"The autoencoder {place!r} has a latents_std that is not above 0.")
    return tuple(map(float, means)), tuple(map(float, stds))


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)


def _opened(wanted: str, place: str, offline: bool) -> tuple[Any, Any]:
    module = _read(wanted, _whole(place), offline)
    return module, module.config


def _read(wanted: str, place: str, offline: bool) -> Any:
    here = is_folder(Path(place))
    if not here and (place.count("/") != 1 or place[0] in "./~"):
        raise BadFile(f"There is no folder {place!r}, and the hub's names look like 'owner/name'.")
    how = {"use_safetensors": True, "local_files_only": offline or here}
    try:
        kind = _class(wanted).load_config(place, local_files_only=how["local_files_only"]).get("_class_name")
        if kind != wanted:
            way_out = f": write {_KINDS[kind]}:{place}" if kind in _KINDS else ""
            raise BadFile(f"The autoencoder {place!r} is diffusers' {kind}, not its {wanted}{way_out}.")
        with torch.random.fork_rng(devices=[]):  # it initialises before it loads
            network, found = _class(wanted).from_pretrained(
                place, **how, torch_dtype=torch.float32, low_cpu_mem_usage=False, output_loading_info=True
            )
    except BadFile:
        raise
    except Exception as error:  # a damaged file or an unreachable hub can fail in many ways
        reason = one_line(error).rstrip(".")
        raise BadFile(f"The autoencoder {place!r} can't be read ({reason}). {_way_out(here, offline)}") from None
    wrong = [key for fault in found.values() for key in fault]
    if wrong:
        raise BadFile(f"The autoencoder {place!r}: its weights don't fit its config.json, e.g. {wrong[0]}.")
    return network


def _class(name: str) -> Any:
    """diffusers' class, which is fetched when one is wanted: it takes a second to import, and most runs have pixels."""
    return pkgutil.resolve_name(f"diffusers:{name}")


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
    parameters = inspect.signature(type(network).__init__).parameters
    usual = {name: parameter.default for name, parameter in parameters.items()}
    config = {key: _plain(value) for key, value in network.config.items() if not key.startswith("_")}
    changed = {key: value for key, value in config.items() if value != _plain(usual.get(key))}
    content = hashlib.sha256(json.dumps(changed, sort_keys=True).encode())
    for name, weight in sorted(network.state_dict().items()):
        content.update(f"{name} {tuple(weight.shape)}".encode())
        content.update(weight.float().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
