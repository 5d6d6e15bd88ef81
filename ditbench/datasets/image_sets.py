"""Images on disk, streamed: a folder of files, or an ADM-style ``.npz``. Headers are checked before any work."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import BadFile, one_line
from ..storage.files import sha256_of
from .pixels import Bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".gif", ".tif", ".tiff")  # what may be images
_LOSSLESS, _LOSSY = ("PNG", "BMP", "PPM"), ("JPEG", "MPO")  # Pillow's names of the formats that are read
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)  # of the readers
_CHANNELS = {"L": 1, "RGB": 3}
Batches = Callable[[int], Iterator[Bytes]]
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape that come in batches (n, C, H, W) uint8, in a fixed order, as often as asked."""

    name: str  # of the folder or the file, without the way to it
    count: int
    shape: tuple[int, int, int]  # (C, H, W)
    batches: Batches  # takes the batch size
    hash: Callable[[], str]  # sha256 of the content; reads it all
    lossy: str = ""  # the first file that was compressed with loss


def open_images(path: Path) -> ImageSet:
    """A folder, searched through and through, or an ``.npz`` with ``arr_0`` (N, H, W, C) uint8.

    Raises `BadFile`, naming the file, for what is no image, has no plain 8-bit grey or RGB, or another size than
    the first.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise BadFile(f"There is no folder and no file {str(path)!r}.")
    if path.suffix != ".npz":
        raise BadFile(f"{str(path)!r} is no set of images: give a folder of PNGs or an .npz with arr_0.")
    return _npz(path)


def in_memory(name: str, pixels: Bytes, sha256: str) -> ImageSet:
    """Images that are loaded already, pixels (N, C, H, W)."""

    def batches(size: int) -> Iterator[Bytes]:
        return (pixels[start : start + size] for start in range(0, len(pixels), size))

    channels, height, width = pixels.shape[1:]
    return ImageSet(name, len(pixels), (channels, height, width), batches, lambda: sha256)


def _folder(folder: Path) -> ImageSet:
    paths = sorted(_images_below(folder))
    if not paths:
        raise BadFile(f"The folder {str(folder)!r} holds no images ({', '.join(SUFFIXES)}).")
    first, lossy = _header(paths[0])[0], ""
    for path in paths:
        shape, kind = _header(path)
        if shape != first:
            raise BadFile(f"{str(path)!r} is {_size(shape)}, but {str(paths[0])!r} is {_size(first)}.")
        if kind in _LOSSY and not lossy:
            lossy = str(path)

    def batches(size: int) -> Iterator[Bytes]:
        chunks = (paths[start : start + size] for start in range(0, len(paths), size))
        return ahead(chunks, lambda path: _pixels(path, first))

    return ImageSet(_name(folder), len(paths), first, batches, lambda: _hash_of(paths), lossy)


def _images_below(folder: Path) -> Iterator[Path]:
    """Every image file of a folder and its folders; what would be left out silently is a `BadFile`."""

    def refuse(error: OSError) -> None:
        raise BadFile(f"The folder {str(error.filename)!r} can't be read ({error.strerror}).") from None

    for place, folders, files in os.walk(folder, onerror=refuse):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        if links:
            raise BadFile(f"{str(Path(place) / links[0])!r} is a link to a folder; put the images themselves there.")
        yield from (Path(place) / name for name in files if Path(name).suffix.lower() in SUFFIXES)


def _name(path: Path) -> str:
    """The last part of a path, printable."""
    return path.resolve().name.encode("utf-8", "replace").decode()


def _header(path: Path) -> tuple[tuple[int, int, int], str]:
    """Shape and format of an image file, without decoding it."""
    try:
        with Image.open(path) as image:
            mode, (width, height), kind = image.mode, image.size, image.format or ""
            deep, frames = "16" in str([tile[3] for tile in image.tile]), getattr(image, "n_frames", 1)
    except (*DAMAGED, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadFile(f"{str(path)!r} is no readable image ({_reason(error, path)}).") from None
    if kind not in _LOSSLESS + _LOSSY:
        raise BadFile(f"{str(path)!r} is a {kind}; give {' or '.join(_LOSSLESS)}.")
    if mode not in _CHANNELS or deep:
        raise BadFile(f"{str(path)!r} has mode {mode}{' of 16 bits' * deep}; metrics take 8-bit grey (L) or RGB alone.")
    if frames > 1 and kind != "MPO":
        raise BadFile(f"{str(path)!r} has {frames} frames; give one image a file.")
    return (_CHANNELS[mode], height, width), kind


def _pixels(path: Path, shape: tuple[int, int, int]) -> Bytes:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except DAMAGED as error:
        raise BadFile(f"{str(path)!r} is damaged ({_reason(error, path)}).") from None
    return pixels.reshape(*shape[1:], shape[0]).transpose(2, 0, 1)


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
    with _member(path, "arr_0") as (_, shape):
        count, height, width, channels = shape
    if not min(height, width):
        raise BadFile(f"{str(path)!r}: arr_0 has images of {width}x{height} pixels.")
    if channels not in _CHANNELS.values():
        raise BadFile(f"{str(path)!r}: arr_0 has {channels} channels, not 1 or 3 (the last axis).")

    def batches(size: int) -> Iterator[Bytes]:
        with _member(path, "arr_0") as (stream, _):
            for start in range(0, count, size):
                n = min(size, count - start)
                content = _read(stream, n * height * width * channels, path)
                yield np.frombuffer(content, np.uint8).reshape(n, height, width, channels).transpose(0, 3, 1, 2).copy()

    return ImageSet(_name(path), count, (channels, height, width), batches, lambda: sha256_of(path))


@contextmanager
def _member(path: Path, name: str) -> Iterator[tuple[IO[bytes], tuple[int, int, int, int]]]:
    """The bytes of an array inside an ``.npz``, as a stream, and its shape. Nothing is unpickled."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(zipfile.ZipFile(path))
            stream = stack.enter_context(file.open(f"{name}.npy"))
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, fortran, dtype = read[version](stream)
        except Exception as error:  # a damaged header can fail in many ways
            raise BadFile(f"{str(path)!r} holds no readable {name} ({_reason(error, path)}).") from None
        if fortran:
            raise BadFile(f"{str(path)!r}: {name} is in Fortran's order; save np.ascontiguousarray of it.")
        if len(shape) != 4 or dtype != np.uint8:
            raise BadFile(f"{str(path)!r}: {name} is {dtype} {shape}, not uint8 (N, H, W, C).")
        yield stream, shape


def _read(stream: IO[bytes], size: int, path: Path) -> bytes:
    try:
        content = stream.read(size)
    except DAMAGED as error:
        raise BadFile(f"{str(path)!r} is damaged ({_reason(error, path)}).") from None
    if len(content) < size:
        raise BadFile(f"{str(path)!r} is cut off: arr_0 has fewer bytes than its shape asks for.")
    return content


def _hash_of(paths: Iterable[Path]) -> str:
    """sha256 over the files' own hashes, in the order of their names."""
    content = hashlib.sha256()
    for path in paths:
        content.update(bytes.fromhex(sha256_of(path)))
    return content.hexdigest()


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[2]}x{shape[1]} with {shape[0]} channels"


def _reason(error: Exception, path: Path) -> str:
    return one_line(str(error).replace(str(path), path.name)) or type(error).__name__
