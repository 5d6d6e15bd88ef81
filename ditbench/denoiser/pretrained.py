"""A published checkpoint becomes weights of ours: read without running its code, renamed, checked, written.

What comes out is a safetensors file as a run's own: it loads into the denoiser with ``strict=True``.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..asking import ask_of
from ..components import Selection, load
from ..denoiser_spec import DenoiserSpec
from ..errors import BadFile, BadValue
from ..storage.files import check_target, exists, is_taken, make_writable, sha256_of, write_atomically
from ..storage.reading import open_file, reason_of
from .bounds import without_memory
from .unwrapping import WeightsChoice, candidates, find_weights, groups, is_ema

_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_FORBIDDEN = re.compile(r"GLOBAL (\S+) was not an allowed global")  # in torch's message
_ANOTHER = (
    "Is it of another size, or with another +option=value, `resolution`, `channels`, `classes` or `learn_variance`?"
)
_BARE = "Save the bare state dict."
_POINTER = b"version https://git-lfs"


class _Beside:
    """Stands for what is no weight and nobody asks for, a NumPy number or a path: made of anything, it does nothing."""

    def __new__(cls, *arguments: object) -> _Beside:
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _Settings:
    """Stands for a library's dictionary: makes a plain one."""

    def __new__(cls, *arguments: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


_HARMLESS = {  # under these names a stand-in is made; what has them runs no code, not even its own
    _Beside: (
        "_codecs.encode", "argparse.Namespace", "datetime.date", "datetime.datetime", "datetime.timedelta",
        "datetime.timezone",
        "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar", "numpy.dtype", "numpy.ndarray", "pathlib.PosixPath", "pathlib.PurePosixPath",
        "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
        "torch.torch_version.TorchVersion",
    ),
    _Settings: (
        "easydict.EasyDict", "lightning.fabric.utilities.data.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict", "pytorch_lightning.utilities.parsing.AttributeDict",
    ),
}  # fmt: skip


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
    if is_taken(out):
        raise BadValue(f"{str(out)!r} exists; choose another file with `out`.")
    if exists(out.parent):
        check_target(out)
    published, stated = read_published(checkpoint, weights)
    out, source = out.absolute(), checkpoint.absolute()  # a plugin may change the working directory
    with without_memory(selection.label):
        expected = selection.build(spec).state_dict()
    convert = load(selection.architecture.convert_reference)
    try:
        converted, stated = _fitting(published, stated, weights, convert, expected)
    except BadValue as fault:
        raise BadFile(f"{str(checkpoint)!r} is no {selection.label} for {spec}: {fault}") from None
    metadata = {
        "architecture": selection.label,
        "spec": json.dumps(asdict(spec)),
        "weights": stated,
        "source_sha256": sha256_of(source),
    }
    tensors = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in converted.items()}
    make_writable(out.parent)
    write_atomically(out, lambda temporary: save_file(tensors, temporary, metadata))
    return Imported(stated, sum(tensor.numel() for tensor in tensors.values()))


def import_apart(
    selection: Selection, spec: DenoiserSpec, checkpoint: Path, out: Path, weights: WeightsChoice | None = None
) -> Imported:
    """The same in a process of its own; where the plugin's code breaks or ends that, a `PluginFault` says so."""
    about = (selection, spec, checkpoint, out, weights)
    return cast(Imported, ask_of(selection.label, _import_in_a_fork, *about, kinds=(Imported,)))


def _import_in_a_fork(*about: Any) -> Imported:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    return import_checkpoint(*about)


def read_published(path: Path, weights: WeightsChoice | None = None) -> tuple[dict[str, Tensor], str]:
    """The state dict of a published file, and whether it is "ema", "raw" or "unstated".

    The file is safetensors, or what torch.save wrote: a bare state dict, or a training checkpoint that holds
    some, as ``ema``, ``model`` or ``state_dict``. No code of the file runs; `BadFile` says what is wrong with it.
    """
    with open_file(path, "checkpoint") as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        raise BadFile(f"The checkpoint {str(path)!r} is a pointer of Git LFS, not the file. Fetch that: git lfs pull.")
    is_safetensors = start[8:9] == b"{" or path.suffix.lower() == ".safetensors"
    content = _load_safetensors(path) if is_safetensors else _unpickle(path)
    try:
        return find_weights(content, weights)
    except BadValue as fault:
        raise BadFile(f"{str(path)!r} {fault}. Choose `weights` ema or raw, or save the bare state dict.") from None


def _fitting(
    published: dict[str, Tensor],
    stated: str,
    weights: WeightsChoice | None,
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    expected: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], str]:
    """The weights under our names: all of the file's, or those of one beginning that fit to the last shape.

    Also whether they are "ema", "raw" or "unstated". `BadValue` says why nothing fits, or what can't be told apart.
    """
    (_, whole), *parts = candidates(published)
    keys = {id(tensor): key for key, tensor in published.items()}

    def converted(state: dict[str, Tensor]) -> dict[str, Tensor]:
        made = convert(state)
        check_weights(made, expected, keys)
        return made

    try:
        return converted(whole), stated
    except BadValue as fault:
        fits = [(prefix, made) for prefix, state in parts if (made := _tried(converted, state)) is not None]
        if not fits:
            raise BadValue(f"{fault}{_beginnings(whole)}") from None
    averaged = any(map(is_ema, groups(whole)))
    wanted = weights or ("ema" if averaged else None)
    chosen = [made for prefix, made in fits if wanted is None or not averaged or is_ema(prefix) == (wanted == "ema")]
    if len(chosen) != 1:
        found = ", ".join(repr(prefix) for prefix, _ in fits)
        many = f"{len(chosen) or 'no'} sets of {wanted or 'weights'} that fit"
        raise BadValue(f"it has {many}; what fits is named {found}. Choose `weights` ema or raw. {_BARE}")
    return chosen[0], wanted or stated


def _tried(converted: Callable[[dict[str, Tensor]], dict[str, Tensor]], state: dict[str, Tensor]) -> Any:
    try:
        return converted(state)
    except (BadValue, LookupError):  # a part of a file may lack anything
        return None


def _beginnings(state: dict[str, Tensor]) -> str:
    """What to say where all names, or those of several networks, begin with something that could not be taken off."""
    found = sorted(groups(state))
    if not found or sum(map(len, groups(state).values())) < len(state) or len(found) > 6:
        return ""
    return f" Names begin with {', '.join(repr(f'{name}.') for name in found)}. {_BARE}"


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
        if tensor.is_meta:
            raise BadValue(f"{named(name)} has a shape and no numbers; save them with it.")
        if tensor.shape != expected[name].shape:
            raise BadValue(
                f"{named(name)} has shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}. {_ANOTHER}"
            )
        if fault := _fault_of(tensor, expected[name].dtype):
            raise BadValue(f"{named(name)} {fault}.")


def _fault_of(tensor: Tensor, wanted: torch.dtype) -> str:
    """What keeps numbers from being weights of that type; empty: nothing."""
    if tensor.layout != torch.strided or tensor.dtype not in _TYPES:
        return f"is {tensor.dtype} in layout {tensor.layout}; save it as plain floats"
    if not bool(tensor.isfinite().all()):
        return "is not finite"
    return "" if bool(tensor.to(wanted).isfinite().all()) else f"has a number too large for the network's {wanted}"


def _unpickle(path: Path) -> Any:
    stand_ins: list[Any] = [(kind, name) for kind, names in _HARMLESS.items() for name in names]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # about pickle protocols: it reads them, or it raises
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_plain_zip(path))
    except Exception as error:  # a damaged or a hostile file can fail anywhere inside the unpickler
        raise BadFile(
            f"The checkpoint {str(path)!r} can't be read safely: {_why(error)}. Get it anew, or save its bare state "
            "dict."
        ) from None


def _is_plain_zip(path: Path) -> bool:
    """Whether it is a zip, as torch.save writes it: nothing in it is compressed, so that it is as large as it looks."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        packed = [member.filename for member in file.infolist() if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise BadValue(f"{packed[0]!r} in it is compressed, which torch.save does not do")
    return True


def _why(error: Exception) -> str:
    text = str(error)
    if culprit := _FORBIDDEN.search(text):
        return f"it holds {culprit[1]}, which is code"
    if "DTensor" in text:
        return "it holds the parts of a sharded network"
    if "Unsupported operand" in text:
        return "it is not pickled by protocol 2, which is torch.save's own"
    if "TorchScript" in text:
        return "it is a TorchScript archive"
    return text if isinstance(error, BadValue) else "it is damaged, or not from torch.save"


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadFile(f"The checkpoint {str(path)!r} can't be read: {reason_of(error)}.") from None
