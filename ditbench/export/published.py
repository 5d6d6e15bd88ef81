"""Weights of ours under a published checkpoint's names: the inverse of `convert_reference`, found by asking it.

A plugin tells one way: the published names and tensors become ours. The other way follows from it. Where each number of
a published tensor goes is seen by giving it tensors of counted numbers; then our numbers are put back there. So tensors
that it renames, joins, splits or turns need no second table that could differ from the first.

Names that it changes are in no table that can be read, so they come from a published file, or from the published code's
own ``state_dict``, saved by anybody: ``like``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..components import load
from ..denoiser.pretrained import read_published
from ..errors import BadFile, BadValue
from .subject import Subject

WEIGHTS = "model.safetensors"
_Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
_LARGEST = 2**53  # numbers that float64 counts


def fill_published(subject: Subject, folder: Path, like: Path | None) -> None:
    """Write the weights into a folder; `DitbenchError` unless converting them gives ours again, to the bit."""
    named = published(subject, like)
    metadata = {"architecture": subject.config.label, "names": "published", "format": "pt"}
    save_file(named, folder / WEIGHTS, metadata)
    _check_back(subject, load_file(folder / WEIGHTS))


def published(subject: Subject, like: Path | None) -> dict[str, Tensor]:
    """The weights under their published names."""
    reference = subject.architecture.convert_reference
    if reference is None:
        raise BadValue(f"{subject.config.architecture} has no published names: its plugin names no convert_reference.")
    convert: _Convert = load(reference)
    ours = {name: tensor.detach().contiguous() for name, tensor in subject.network.state_dict().items()}
    return _as_they_are(subject, convert, ours) if like is None else _put_back(subject, convert, ours, like)


def _as_they_are(subject: Subject, convert: _Convert, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights themselves, where the published names are ours; else `BadValue`."""
    wrong = []
    for name, tensor in ours.items():
        try:
            same = convert({name: tensor})
        except (BadValue, LookupError):
            same = {}
        if same.keys() != {name} or not torch.equal(same[name], tensor):
            wrong.append(name)
    if wrong:
        raise BadValue(
            f"{subject.config.label}: {len(wrong)} of {len(ours)} tensors, such as {wrong[0]!r}, have other names or "
            "forms in a published checkpoint. Give one of this size, or the published code's state_dict, by `like`."
        )
    return ours


def _put_back(subject: Subject, convert: _Convert, ours: dict[str, Tensor], like: Path) -> dict[str, Tensor]:
    """Our numbers where those of a published file come from; what the file has beside, such as tables, as it is."""
    theirs, _ = read_published(like)
    counted = _counted(theirs)
    try:
        found = convert(counted)
    except (BadValue, LookupError) as error:
        raise BadFile(
            f"{str(like)!r} has not the names of a published {subject.config.architecture}: {error}"
        ) from None
    _check_form(subject, found, ours, like)
    whole = torch.cat([theirs[name].flatten().to(torch.float64) for name in theirs])
    for name, places in found.items():
        at = _places(subject, name, places.flatten() - len(whole), len(whole))
        whole[at] = ours[name].flatten().to(torch.float64)
    parts = torch.split(whole, [tensor.numel() for tensor in theirs.values()])
    kinds = {tensor.dtype for tensor in ours.values() if tensor.is_floating_point()}
    kind = next(iter(kinds)) if len(kinds) == 1 else torch.float32
    return {
        name: part.view(theirs[name].shape).to(kind if theirs[name].is_floating_point() else theirs[name].dtype).clone()
        for name, part in zip(theirs, parts, strict=True)
    }


def _counted(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the same names and shapes whose numbers are all different: each is its place among all.

    They count from their total on, so that a sum of two is none of them.
    """
    total = sum(tensor.numel() for tensor in theirs.values())
    if 2 * total >= _LARGEST:
        raise BadValue(f"{total:,} numbers are more than can be told apart.")
    places = torch.split(
        torch.arange(total, 2 * total, dtype=torch.float64), [tensor.numel() for tensor in theirs.values()]
    )
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(theirs.items(), places, strict=True)}


def _places(subject: Subject, name: str, places: Tensor, total: int) -> Tensor:
    """Where the numbers of a tensor of ours come from; `BadValue` if they are computed."""
    whole = places.long()
    if not torch.equal(whole.to(places.dtype), places) or not bool(((whole >= 0) & (whole < total)).all()):
        raise BadValue(
            f"{subject.config.label}: {name!r} (our name) is computed from several numbers of a published checkpoint, "
            "which can't be told from it; so the weights have no published form."
        )
    return whole


def _check_form(subject: Subject, found: Mapping[str, Tensor], ours: Mapping[str, Tensor], like: Path) -> None:
    """`BadFile` names the first tensor that a published file and the network don't both have, in one shape."""
    for name in sorted(found.keys() ^ ours.keys()):
        lacks = "has nothing for" if name in ours else "has more than the network:"
        raise BadFile(f"{str(like)!r} {lacks} {name!r} (our name) of {subject.config.label}; is it of another size?")
    for name, tensor in ours.items():
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)}, not {tuple(tensor.shape)}"
            raise BadFile(f"{str(like)!r} is not of {subject.config.label}: {name!r} (our name) has shape {shapes}.")


def _check_back(subject: Subject, written: dict[str, Tensor]) -> None:
    convert: _Convert = load(subject.architecture.convert_reference or "")
    back, ours = convert(written), subject.network.state_dict()
    wrong = [name for name in sorted(back.keys() | ours.keys()) if not _same(back.get(name), ours.get(name))]
    if wrong:
        raise BadValue(
            f"{subject.config.label}: the published form can't hold {wrong[0]!r}: converted back, it is another."
        )


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.shape == other.shape and torch.equal(one, other)
