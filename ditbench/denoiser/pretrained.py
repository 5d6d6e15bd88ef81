"""A published checkpoint becomes weights of ours: read without running its code, renamed, checked, written.

What comes out is a safetensors file as a run's own: it loads into the denoiser with ``strict=True``.
"""

from __future__ import annotations

import argparse
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..components import DenoiserSpec, Selection, load
from ..errors import BadFile, BadValue
from ..storage.files import make_writable, sha256_of, write_atomically

WeightsChoice = Literal["ema", "raw"]
_ENTRIES: Mapping[WeightsChoice, str] = {"ema": "ema", "raw": "model"}  # of a training checkpoint, as DiT's
_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_FORBIDDEN = re.compile(r"GLOBAL (\S+) was not an allowed global")  # in torch's message
_ANOTHER = (
    "Is it of another size, or with another +option=value, `resolution`, `channels`, `classes` or `learn_variance`?"
)


@dataclass(frozen=True)
class Imported:
    """What was written."""

    weights: str  # "ema", "raw", or "unstated": a bare state dict does not say
    parameters: int


def import_checkpoint(
    selection: Selection, spec: DenoiserSpec, checkpoint: Path, out: Path, weights: WeightsChoice | None = None
) -> Imported:
    """Write the weights of a published checkpoint to `out` under our names, or raise what is wrong with them.

    `weights` chooses between the EMA and the raw weights of a training checkpoint (EMA by default); of a bare
    state dict, which has one set, it states which it is.
    """
    if selection.architecture.convert_reference is None:
        raise BadValue(f"{selection.architecture.name} can't import: its plugin names no convert_reference.")
    if out.exists():
        raise BadValue(f"{str(out)!r} exists; choose another file with `out`.")
    published, stated = read_published(checkpoint, weights)
    converted = load(selection.architecture.convert_reference)(published)
    with torch.device("meta"):
        expected = selection.build(spec).state_dict()
    try:
        check_weights(converted, expected, {id(tensor): key for key, tensor in published.items()})
    except BadValue as fault:
        raise BadFile(f"{str(checkpoint)!r} is no {selection.label} for {spec}: {fault}") from None
    metadata = {
        "architecture": selection.label,
        "spec": json.dumps(asdict(spec)),
        "weights": stated,
        "source_sha256": sha256_of(checkpoint),
    }
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in converted.items()}
    make_writable(out.parent)
    write_atomically(out, lambda temporary: save_file(tensors, temporary, metadata))
    return Imported(stated, sum(tensor.numel() for tensor in tensors.values()))


def read_published(path: Path, weights: WeightsChoice | None = None) -> tuple[dict[str, Tensor], str]:
    """The state dict of a published file, and whether it is "ema", "raw" or "unstated".

    The file is safetensors, or what torch.save wrote: a bare state dict, or a training checkpoint that holds
    one as ``ema`` and one as ``model``. No code of the file runs; `BadFile` says what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise BadFile(f"The checkpoint {str(path)!r} can't be read: {error.strerror}.") from None
    content = _load_safetensors(path) if start[8:] == b"{" else _unpickle(path)
    if not isinstance(content, dict) or not content:
        raise BadFile(f"{str(path)!r} holds no state dict.")
    if _is_state_dict(content):
        return content, weights or "unstated"
    stated = weights or "ema"
    chosen = content.get(_ENTRIES[stated])
    if not _is_state_dict(chosen):
        held = ", ".join(map(repr, list(content)[:6]))
        raise BadFile(
            f"{str(path)!r} holds {held}: no {stated} weights under {_ENTRIES[stated]!r}. "
            "Choose `weights` ema or raw, or save the bare state dict."
        )
    return chosen, stated


def check_weights(
    converted: Mapping[str, Tensor], expected: Mapping[str, Tensor], published: Mapping[int, str]
) -> None:
    """Every expected tensor is there, in its shape, dense and finite, and nothing else; `BadValue` names one.

    `published` has the key that a tensor, by its id, had in the published file; messages use it.
    """

    def named(name: str) -> str:
        return repr(published.get(id(converted[name]), name))

    for name in expected:
        if name not in converted:
            raise BadValue(f"{name!r} (our name) is missing. {_ANOTHER}")
    for name, tensor in converted.items():
        if name not in expected:
            raise BadValue(f"{named(name)} is one too many. {_ANOTHER}")
        if tensor.shape != expected[name].shape:
            raise BadValue(
                f"{named(name)} has shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}. {_ANOTHER}"
            )
        if tensor.layout != torch.strided or tensor.dtype not in _TYPES:
            raise BadValue(f"{named(name)} is {tensor.dtype} in layout {tensor.layout}; save it as plain floats.")
        if not bool(tensor.isfinite().all()):
            raise BadValue(f"{named(name)} is not finite.")


def _unpickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about pickle protocols: it reads them, or it raises
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged or a hostile file can fail anywhere inside the unpickler
        culprit = _FORBIDDEN.search(str(error))
        reason = f"it holds {culprit[1]}, which is code" if culprit else "it is damaged, or not from torch.save"
        raise BadFile(
            f"The checkpoint {str(path)!r} can't be read safely: {reason}. Get it anew, or save its bare state dict."
        ) from None


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadFile(f"The checkpoint {str(path)!r} is no whole safetensors file: {error}.") from None


def _is_state_dict(content: object) -> TypeGuard[dict[str, Tensor]]:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )
