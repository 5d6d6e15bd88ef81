"""Images on disk, streamed: a folder of files, or an ADM-style ``.npz``. Headers are checked before any work."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import BadFile
from ..storage.files import is_file, is_folder, sha256_of
from ..storage.reading import open_regular
from .decoding import MOST_PIXELS, SUFFIXES, Channels, channels_of, decoded, open_header
from .entries import check_place, look_through, read_image, told
from .npz import Header, is_npz, open_array, read_part
from .pixels import Bytes

_LOSSLESS, _LOSSY = ("PNG", "BMP", "PPM"), ("JPEG", "MPO")  # Pillow's names of the formats that are read
_PIXELS = 2**27  # of a batch; RGB of it takes 400 MB, and there are up to four at a time
_ARRAY = "arr_0"  # of an .npz: its images
_PLAIN = ("L", "RGB")  # Pillow's modes of which nothing is dropped or converted
_CHANNELS = (1, 3)
_logger = logging.getLogger(__name__)
Batches = Callable[[int], Iterator[Bytes]]
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, or clips, of one shape that come in batches (n, C, H, W) uint8, (n, F, C, H, W), in a fixed order."""

    name: str  # of the folder or the file, without the way to it
    count: int
    shape: tuple[int, ...]  # (C, H, W), of clips (F, C, H, W)
    batches: Batches  # takes the batch size
    hash: Callable[[], str]  # sha256 of the content; reads it all
    lossy: str = ""  # the first file that was compressed with loss


def open_images(path: Path) -> ImageSet:
    """A folder, searched through and through, or an ``.npz`` with ``arr_0`` (N, H, W, C) uint8.

    Files are found and read by the rules of `entries` and `decoding`; what is left out or converted is logged. Raises
    `BadFile`, naming the file, for what is no image, or has another size than the first.
    """
    if is_folder(path):
        return _folder(path)
    if not is_file(path):
        raise BadFile(f"There is no folder and no file {str(path)!r}.")
    if not is_npz(path):
        raise BadFile(f"{str(path)!r} is no set of images: give a folder of PNGs or an .npz with arr_0.")
    return _npz(path)


def in_memory(name: str, pixels: Bytes, sha256: str) -> ImageSet:
    """Images that are loaded already, pixels (N, C, H, W), or clips (N, F, C, H, W)."""

    def batches(size: int) -> Iterator[Bytes]:
        return (pixels[start : start + size] for start in range(0, len(pixels), size))

    return ImageSet(name, len(pixels), pixels.shape[1:], batches, lambda: sha256)


def _folder(folder: Path) -> ImageSet:
    paths = _images_below(folder)
    first, lossy, converted = _header(paths[0])[0], "", []
    for path in paths:
        shape, kind, mode = _header(path)
        if shape != first:
            raise BadFile(f"{str(path)!r} is {_size(shape)}, but {str(paths[0])!r} is {_size(first)}.")
        lossy = lossy or (str(path) if kind in _LOSSY else "")
        converted += [(path, mode)] if mode not in _PLAIN else []
    if converted:
        path, mode = converted[0]
        _logger.warning(
            "%d images are not plain grey or RGB and are converted, e.g. %r (%s)",
            len(converted),
            *map(str, (path, mode)),
        )

    def batches(size: int) -> Iterator[Bytes]:
        size = of_bounded_size(size, *first[1:])
        chunks = (paths[start : start + size] for start in range(0, len(paths), size))
        return ahead(chunks, lambda path: _pixels(path, first))

    return ImageSet(_name(folder), len(paths), first, batches, lambda: _hash_of(paths), lossy)


def _images_below(folder: Path) -> list[Path]:
    """Every image file of a folder and its folders."""
    check_place(folder)
    found = list(look_through(folder))
    paths = sorted(place / image.name for place, entries in found for image in entries.files)
    if not paths:
        raise BadFile(f"The folder {str(folder)!r} holds no images ({', '.join(SUFFIXES)}).")
    if others := told(sorted(str(place / name) for place, entries in found for name in entries.others)):
        _logger.warning("%s", others)
    return paths


def _name(path: Path) -> str:
    """The last part of a path, printable."""
    return path.resolve().name.encode("utf-8", "replace").decode()


def _header(path: Path) -> tuple[tuple[Channels, int, int], str, str]:
    """Shape, format and mode of an image file, without decoding it."""
    try:
        with open_regular(path) as stream, open_header(stream, str(path)) as image:
            (width, height), kind, mode = image.size, image.format or "", image.mode
            channels = channels_of(image)
    except OSError as error:
        raise BadFile(f"{str(path)!r} can't be read ({error.strerror}).") from None
    if kind not in _LOSSLESS + _LOSSY:
        raise BadFile(f"{str(path)!r} is a {kind}; give {' or '.join(_LOSSLESS)}.")
    return (channels, height, width), kind, mode


def _pixels(path: Path, shape: tuple[Channels, int, int]) -> Bytes:
    with decoded(read_image(path), str(path), shape[0]) as image:
        return np.asarray(image).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)


def of_bounded_size(size: int, height: int, width: int) -> int:
    """How many images a batch has: as many as are asked for, unless they are so large that memory would not hold them.

    Large means more than 1,158 pixels a side, with a hundred in a batch.
    """
    return max(1, min(size, _PIXELS // (height * width)))


def ahead(chunks: Iterable[list[Item]], read: Callable[[Item], Bytes]) -> Iterator[Bytes]:
    """Batches of what `read` makes of each item, on all cores, one batch ahead of the reader."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[list[Future[Bytes]]] = deque()
        try:
            for chunk in chunks:
                waiting.append([pool.submit(read, item) for item in chunk])
                if len(waiting) > 1:
                    yield np.stack([future.result() for future in waiting.popleft()])
            while waiting:
                yield np.stack([future.result() for future in waiting.popleft()])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _npz(path: Path) -> ImageSet:
    with open_array(path, _ARRAY) as (_, header):
        count, height, width, channels = _npz_shape(path, header)

    def batches(size: int) -> Iterator[Bytes]:
        size = of_bounded_size(size, height, width)
        with open_array(path, _ARRAY) as (stream, _):
            for start in range(0, count, size):
                n = min(size, count - start)
                content = read_part(path, _ARRAY, stream, n * height * width * channels)
                yield np.frombuffer(content, np.uint8).reshape(n, height, width, channels).transpose(0, 3, 1, 2).copy()

    return ImageSet(_name(path), count, (channels, height, width), batches, lambda: sha256_of(path))


def _npz_shape(path: Path, header: Header) -> tuple[int, int, int, int]:
    """(N, H, W, C) of images in an array, by its header; `BadFile` if it can't be images."""
    if header.fortran:
        raise BadFile(f"{str(path)!r}: {_ARRAY} is in Fortran's order; save np.ascontiguousarray of it.")
    if len(header.shape) != 4 or header.dtype != np.uint8:
        raise BadFile(f"{str(path)!r}: {_ARRAY} is {header}, not uint8 (N, H, W, C).")
    count, height, width, channels = header.shape
    if not 0 < height * width <= MOST_PIXELS:
        raise BadFile(f"{str(path)!r}: {_ARRAY} has images of {width}x{height} pixels, not of 1 to {MOST_PIXELS:,}.")
    if channels not in _CHANNELS:
        raise BadFile(f"{str(path)!r}: {_ARRAY} has {channels} channels, not 1 or 3 (the last axis).")
    return count, height, width, channels


def _hash_of(paths: Iterable[Path]) -> str:
    """sha256 over the files' own hashes, in the order of their names."""
    content = hashlib.sha256()
    for path in paths:
        content.update(hashlib.sha256(read_image(path)).digest())
    return content.hexdigest()


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[2]}x{shape[1]} with {shape[0]} channels"
