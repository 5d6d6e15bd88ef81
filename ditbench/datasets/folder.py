"""Folders of images: one folder per class or none at all, for one split or for two."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np

from ..errors import BadFile
from ..image_sets import SUFFIXES
from .raw import UNKNOWN, RawImages

_TRAINED, _HELD_OUT = "train", ("val", "validation", "test")  # of several held-out splits, the first
_Files = list[tuple[str, int]]  # names and sizes


def list_folder(place: Path, skip_bad: bool = False) -> RawImages:
    """The images of a folder; no file is opened.

    Its folders are the classes; without folders, the images have none. If it holds ``train`` and nothing else but
    ``val``, ``validation`` or ``test``, these are such folders themselves. Hidden files don't count. With `skip_bad`,
    files that have no image's suffix are listed, too, and left to whoever can't read them.
    Raises `BadFile`, naming the culprit, for all that would be left out silently.
    """
    folders = {entry.name for entry in _visible(place) if entry.is_dir()}
    if _TRAINED not in folders or folders - {_TRAINED, *_HELD_OUT}:
        return _list(place, place, _TRAINED, skip_bad)
    trained = _list(place, place / _TRAINED, _TRAINED, skip_bad)
    aside = next((split for split in _HELD_OUT if split in folders), None)
    if aside is None:
        return trained
    held_out = _list(place, place / aside, aside, skip_bad)
    return replace(trained, held_out=_in_terms_of(held_out, trained, place / aside))


def _in_terms_of(held_out: RawImages, trained: RawImages, folder: Path) -> RawImages:
    """Held-out images with the training images' classes; a flat folder of them doesn't tell which is of which."""
    if trained.class_names and not held_out.class_names:
        return replace(held_out, labels=np.full(len(held_out), UNKNOWN), class_names=trained.class_names)
    strange = sorted(set(held_out.class_names) ^ set(trained.class_names))
    if strange:
        raise BadFile(f"{str(folder)!r} has not the classes of {_TRAINED!r}: {strange[0]!r} is in one of them only.")
    return held_out


def _list(place: Path, folder: Path, split: str, skip_bad: bool) -> RawImages:
    """The images of one split."""
    entries = _visible(folder)
    classes = sorted(entry.name for entry in entries if entry.is_dir())
    stray = sorted(entry.name for entry in entries if classes and not entry.is_dir())
    if stray:
        raise BadFile(f"{str(folder / stray[0])!r} is a file beside the classes' folders; move it away.")
    folders = [folder / name for name in classes] or [folder]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(pool.map(_images, folders, repeat(skip_bad)))
    return _raw(place, split, folders, files, tuple(classes))


def _raw(place: Path, split: str, folders: Sequence[Path], files: list[_Files], classes: tuple[str, ...]) -> RawImages:
    labels = np.repeat(np.arange(len(files)), [len(images) for images in files])
    names = [name for images in files for name, _ in images]
    listing = hashlib.sha256(repr((split, classes)).encode())
    for images in files:
        listing.update(repr(images).encode())

    def path(number: int) -> Path:
        return folders[int(labels[number])] / names[number]

    def read(number: int) -> bytes:
        try:
            return path(number).read_bytes()
        except OSError as error:
            raise BadFile(f"{str(path(number))!r} can't be read ({error.strerror}).") from None

    return RawImages(
        name=place.resolve().name.encode("utf-8", "replace").decode(),
        place=str(place),
        split=split,
        labels=labels,
        class_names=classes,
        listing=listing.hexdigest(),
        read=read,
        title=lambda number: str(path(number)),
    )


def _images(folder: Path, skip_bad: bool) -> _Files:
    """Names and sizes of a folder's images, sorted by name."""
    files = []
    for entry in _visible(folder):
        if entry.is_dir():
            raise BadFile(f"{entry.path!r} is a folder among images; classes are folders, and hold images alone.")
        if not skip_bad and not entry.name.lower().endswith(SUFFIXES):
            raise BadFile(f"{entry.path!r} is no image by its name; move it away, or leave it out with --skip-bad.")
        files.append((entry.name, _size(entry)))
    if not files:
        raise BadFile(f"The folder {str(folder)!r} holds no images ({', '.join(SUFFIXES)}).")
    return sorted(files)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError as error:
        raise BadFile(f"{entry.path!r} can't be read ({error.strerror}).") from None


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, in no order, without hidden entries."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise BadFile(f"The folder {str(folder)!r} can't be read ({error.strerror}).") from None
