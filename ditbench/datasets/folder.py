"""Folders of images or of videos: one folder per class or none at all, for one split or for two."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import BadFile
from ..storage.files import whole_path
from .crop import crop_of
from .entries import IMAGES, VIDEOS, Entries, Kind, check_place, look_into, read_image
from .raw import HELD_OUT, TRAINED, UNKNOWN, Cut, RawImages, kind_of
from .video import clip_of, find_library


def list_folder(place: Path, cut: Cut | None = None) -> RawImages:
    """The images of a folder, or the videos that clips are cut out of, found by the rule of `entries`; none is opened.

    Its folders are the classes; without folders, the images have none. If it holds ``train`` alone, or
    beside it ``val``, ``valid``, ``validation``, ``dev`` or ``test``, these are such folders themselves.
    Raises `BadFile`, naming the culprit, for images and folders that would be left out.
    """
    check_place(place)
    if cut is not None:
        find_library()
    here = look_into(place, kind_of(cut))
    folders = set(here.folders)
    others, aside = folders - {TRAINED, *HELD_OUT}, next((split for split in HELD_OUT if split in folders), None)
    if TRAINED not in folders or (others and aside is None):
        return _list(place, place, TRAINED, cut)
    _check_stray(place, here, kind_of(cut))
    if others:
        raise BadFile(
            f"{str(place / min(others))!r} is neither {TRAINED!r} nor a held-out split ({', '.join(HELD_OUT)}), but "
            f"lies beside {TRAINED!r} and {aside!r}; move it away."
        )
    trained = _list(place, place / TRAINED, TRAINED, cut)
    left_out = (*(str(place / name) for name in here.others), *trained.left_out)
    if aside is None:
        return replace(trained, left_out=left_out)
    held_out = _in_terms_of(_list(place, place / aside, aside, cut), trained, place / aside)
    return replace(trained, held_out=held_out, left_out=(*left_out, *held_out.left_out))


def _in_terms_of(held_out: RawImages, trained: RawImages, folder: Path) -> RawImages:
    """Held-out images with the training images' classes; a flat folder of them doesn't tell which is of which."""
    if trained.class_names and not held_out.class_names:
        return replace(held_out, labels=np.full(len(held_out), UNKNOWN), class_names=trained.class_names)
    strange = sorted(set(held_out.class_names) ^ set(trained.class_names))
    if strange:
        raise BadFile(f"{str(folder)!r} has not the classes of {TRAINED!r}: {strange[0]!r} is in one of them only.")
    return held_out


def _check_stray(folder: Path, entries: Entries, kind: Kind) -> None:
    if entries.files:
        stray = str(folder / entries.files[0].name)
        raise BadFile(f"{stray!r} is {kind.article} {kind.noun} beside folders of {kind.noun}s; move it away.")


def _list(place: Path, folder: Path, split: str, cut: Cut | None) -> RawImages:
    """The images of one split."""
    kind = kind_of(cut)
    here = look_into(folder, kind)
    if not here.folders:
        return _raw(place, split, [folder], [_alone(folder, here, kind)], (), cut)
    _check_stray(folder, here, kind)
    folders = [folder / name for name in here.folders]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        classes = list(pool.map(lambda one: _alone(one, look_into(one, kind), kind), folders))
    found = _raw(place, split, folders, classes, here.folders, cut)
    return replace(found, left_out=(*(str(folder / name) for name in here.others), *found.left_out))


def _alone(folder: Path, entries: Entries, kind: Kind) -> Entries:
    """What a folder holds, if these are images and no folders."""
    if entries.folders:
        path = str(folder / entries.folders[0])
        raise BadFile(f"{path!r} is a folder among {kind.noun}s; classes are folders, and hold {kind.noun}s alone.")
    if not entries.files:
        videos = kind is IMAGES and any(name.lower().endswith(VIDEOS.suffixes) for name in entries.others)
        rather = " Of its videos, `frames` above 1 makes clips." if videos else ""
        raise BadFile(f"The folder {str(folder)!r} holds no {kind.noun}s ({', '.join(kind.suffixes)}).{rather}")
    return entries


def _raw(
    place: Path,
    split: str,
    folders: Sequence[Path],
    found: Sequence[Entries],
    classes: tuple[str, ...],
    cut: Cut | None,
) -> RawImages:
    labels = np.repeat(np.arange(len(found)), [len(entries.files) for entries in found])
    names = [file.name for entries in found for file in entries.files]
    listing = hashlib.sha256(repr((split, classes)).encode())
    if cut is not None:
        listing.update(cut.model_dump_json().encode())
    stamp = listing.copy()
    for entries in found:
        listing.update(repr([(name, trace.size) for name, trace in entries.files]).encode())
        stamp.update(repr([(name, *trace) for name, trace in entries.files]).encode())

    def path(number: int) -> Path:
        return folders[int(labels[number])] / names[number]

    whole = whole_path(place)
    return RawImages(
        name=whole.name,
        place=str(whole),  # opened again from wherever a run starts
        split=split,
        labels=labels,
        class_names=classes,
        listing=listing.hexdigest(),
        read=lambda number: read_image(path(number)),
        title=lambda number: str(path(number)),
        crop=crop_of if cut is None else partial(clip_of, cut=cut),
        cut=cut,
        stamp=stamp.hexdigest(),
        left_out=tuple(str(at / name) for at, entries in zip(folders, found, strict=True) for name in entries.others),
    )
