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
from ..storage.files import whole_path
from .image_sets import SUFFIXES
from .raw import HELD_OUT, TRAINED, UNKNOWN, RawImages

_Files = list[tuple[str, int, int]]  # names, sizes, times of the last change


def list_folder(place: Path, skip_bad: bool = False) -> RawImages:
    """The images of a folder; no file is opened.

    Its folders are the classes; without folders, the images have none. If it holds ``train`` alone, or
    beside it ``val``, ``valid``, ``validation``, ``dev`` or ``test``, these are such folders themselves. Hidden files
    don't count. With `skip_bad`, files without an image's suffix are listed, too, and left to whoever can't read them.
    Raises `BadFile`, naming the culprit, for all that would be left out silently.
    """
    _check_name(str(place), str(whole_path(place)))
    folders = {entry.name for entry in _visible(place) if _is_folder(entry)}
    others, aside = folders - {TRAINED, *HELD_OUT}, next((split for split in HELD_OUT if split in folders), None)
    if TRAINED not in folders or (others and aside is None):
        return _list(place, place, TRAINED, skip_bad)
    if others:
        raise BadFile(
            f"{str(place / min(others))!r} is neither {TRAINED!r} nor a held-out split ({', '.join(HELD_OUT)}), but "
            f"lies beside {TRAINED!r} and {aside!r}; move it away."
        )
    trained = _list(place, place / TRAINED, TRAINED, skip_bad)
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
        raise BadFile(f"{str(folder)!r} has not the classes of {TRAINED!r}: {strange[0]!r} is in one of them only.")
    return held_out


def _list(place: Path, folder: Path, split: str, skip_bad: bool) -> RawImages:
    """The images of one split."""
    entries = _visible(folder)
    classes = sorted(entry.name for entry in entries if _is_folder(entry))
    stray = sorted(entry.name for entry in entries if classes and not _is_folder(entry))
    if stray:
        raise BadFile(f"{str(folder / stray[0])!r} is a file beside the classes' folders; move it away.")
    folders = [folder / name for name in classes] or [folder]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(pool.map(_images, folders, repeat(skip_bad)))
    return _raw(place, split, folders, files, tuple(classes))


def _raw(place: Path, split: str, folders: Sequence[Path], files: list[_Files], classes: tuple[str, ...]) -> RawImages:
    labels = np.repeat(np.arange(len(files)), [len(images) for images in files])
    names = [name for images in files for name, _, _ in images]
    listing = hashlib.sha256(repr((split, classes)).encode())
    stamp = listing.copy()
    for images in files:
        listing.update(repr([(name, size) for name, size, _ in images]).encode())
        stamp.update(repr(images).encode())

    def path(number: int) -> Path:
        return folders[int(labels[number])] / names[number]

    def read(number: int) -> bytes:
        try:
            return path(number).read_bytes()
        except OSError as error:
            raise BadFile(f"{str(path(number))!r} can't be read ({error.strerror}).") from None

    whole = whole_path(place)
    return RawImages(
        name=whole.name,
        place=str(whole),  # opened again from wherever a run starts
        split=split,
        labels=labels,
        class_names=classes,
        listing=listing.hexdigest(),
        read=read,
        title=lambda number: str(path(number)),
        stamp=stamp.hexdigest(),
    )


def _images(folder: Path, skip_bad: bool) -> _Files:
    """What is listed of a folder's images, sorted by name."""
    files = []
    for entry in _visible(folder):
        if _is_folder(entry):
            raise BadFile(f"{entry.path!r} is a folder among images; classes are folders, and hold images alone.")
        if not skip_bad and not entry.name.lower().endswith(SUFFIXES):
            raise BadFile(f"{entry.path!r} is no image by its name; move it away, or leave it out with `skip_bad`.")
        size, changed = _size_and_time(entry)
        files.append((entry.name, size, changed))
    if not files:
        raise BadFile(f"The folder {str(folder)!r} holds no images ({', '.join(SUFFIXES)}).")
    return sorted(files)


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        found = entry.stat()
    except OSError as error:
        raise BadFile(f"{entry.path!r} can't be read ({error.strerror}).") from None
    return found.st_size, found.st_mtime_ns


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # links in a circle
        raise BadFile(f"{entry.path!r} can't be read ({error.strerror}).") from None


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, in no order, without hidden entries."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise BadFile(f"The folder {str(folder)!r} can't be read ({error.strerror}).") from None
    for entry in found:
        _check_name(entry.path, entry.name)
    return found


def _check_name(path: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadFile(f"{path!r} has a name that is not UTF-8; rename it.") from None
