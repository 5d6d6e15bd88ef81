"""A published checkpoint becomes weights of ours: read without running its code, renamed, checked, written.

What comes out is a safetensors file as a run's own: it loads into the denoiser with ``strict=True``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .components import DenoiserSpec, Selection, load
from .errors import BadFile, BadValue
from .storage import make_writable, write_atomically

Weights = Literal["ema", "raw"]
_ENTRIES: Mapping[Weights, str] = {"ema": "ema", "raw": "model"}  # of a training checkpoint, as DiT's


@dataclass(frozen=True)
class Imported:
    """What was written."""

    label: str
    spec: DenoiserSpec
    weights: str  # "ema", "raw", or "unstated": a bare state dict does not say
    parameters: int


def import_checkpoint(
    selection: Selection, spec: DenoiserSpec, checkpoint: Path, out: Path, weights: Weights | None = None
) -> Imported:
    """Write the weights of a published checkpoint to `out` under our names, or raise what is wrong with them.

    `weights` chooses between the EMA and the raw weights of a training checkpoint (EMA by default); of a bare
    state dict, which has one set, it states which it is.
    """
    if selection.architecture.convert_reference is None:
        raise BadValue(f"{selection.architecture.name} can't import: its plugin names no convert_reference.")
    if out.exists():
        raise BadValue(f"{str(out)!r} exists; choose another file with --out.")
    make_writable(out.parent)
    published, stated = read_published(checkpoint, weights)
    converted = load(selection.architecture.convert_reference)(published)
    try:
        check(converted, selection, spec)
    except BadValue as fault:
        raise BadFile(
            f"{str(checkpoint)!r} is no {selection.label} for {spec}: {fault} "
            "Is it of another size, or made for another --resolution, --channels or --classes?"
        ) from None
    metadata = {
        "architecture": selection.label,
        "spec": json.dumps(asdict(spec)),
        "weights": stated,
        "source_sha256": _sha256(checkpoint),
    }
    tensors = {name: tensor.contiguous() for name, tensor in converted.items()}
    write_atomically(out, lambda temporary: save_file(tensors, temporary, metadata))
    return Imported(selection.label, spec, stated, sum(tensor.numel() for tensor in tensors.values()))


def read_published(path: Path, weights: Weights | None = None) -> tuple[dict[str, Tensor], str]:
    """The state dict of a published file, and whether it is "ema", "raw" or "unstated".

    The file is safetensors, or what torch.save wrote: a bare state dict, or a training checkpoint that holds
    one as ``ema`` and one as ``model``. No code of the file runs; `BadFile` says what is wrong with it.
    """
    content = _unpickle(path) if path.suffix != ".safetensors" else _load_safetensors(path)
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
            "Choose --weights ema or raw, or save the bare state dict."
        )
    return chosen, stated


def check(converted: Mapping[str, Tensor], selection: Selection, spec: DenoiserSpec) -> None:
    """Every tensor of the denoiser is there, in its shape and finite, and nothing else; `BadValue` names one."""
    with torch.device("meta"):
        expected: Mapping[str, Tensor] = selection.build(spec).state_dict()
    for name in expected:
        if name not in converted:
            raise BadValue(f"{name!r} is missing.")
    for name, tensor in converted.items():
        if name not in expected:
            raise BadValue(f"{name!r} is one too many.")
        if tensor.shape != expected[name].shape:
            raise BadValue(f"{name!r} has shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}.")
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise BadValue(f"{name!r} has type {tensor.dtype}, not {expected[name].dtype}.")
        if not bool(tensor.isfinite().all()):
            raise BadValue(f"{name!r} is not finite.")


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # DiT keeps its arguments beside the weights
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise BadFile(f"There is no checkpoint {str(path)!r}.") from None
    except Exception as error:  # a damaged or a hostile file can fail anywhere inside the unpickler
        raise BadFile(f"The checkpoint {str(path)!r} can't be read safely: {_first_line(error)}") from None


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise BadFile(f"There is no checkpoint {str(path)!r}.") from None
    except (OSError, SafetensorError) as error:
        raise BadFile(f"The checkpoint {str(path)!r} can't be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_state_dict(content: object) -> TypeGuard[dict[str, Tensor]]:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
