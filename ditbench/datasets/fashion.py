"""Fashion-MNIST (Xiao et al., 2017): 60,000 + 10,000 grey images of clothes, read from its idx files as they are."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path

import numpy as np

from ..errors import BadFile, BadValue, one_line
from ..storage.files import is_file
from ..storage.reading import read_bytes
from .examples import Data, Labels, Request, check_labels, from_arrays
from .pixels import Bytes

CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
SIZE = 28  # of the images as published
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_TORCHVISION = Path("FashionMNIST/raw")
_LARGEST = 2**27  # bytes of a file, unpacked: more than twice the largest
_TRAINED, _HELD_OUT = "train", "t10k"


def load_fashion_mnist(request: Request) -> Data:
    """The training images with a black border of 2, so 32x32, or as they are (28); the test images are held out.

    Raises `BadValue` for another resolution, `BadFile`, naming the file, for one that is missing or damaged.
    """
    if request.resolution not in (SIZE, SIZE + 4):
        raise BadValue(
            f"fashion-mnist has images of {SIZE} px or, with a border, {SIZE + 4}, not {request.resolution}."
        )
    border = (request.resolution - SIZE) // 2
    folder = _find(request.place)
    pixels, labels = _split(folder, _TRAINED, border)
    held_out = _split(folder, _HELD_OUT, border)
    return from_arrays("fashion-mnist", pixels, labels, CLASSES, *held_out)


def _find(place: str) -> Path:
    """The folder with the files: in the given place, or else where they usually lie."""
    data = os.environ.get("DITBENCH_DATA")
    if place:
        folders = [Path(place), Path(place) / _TORCHVISION]
    else:
        folders = [Path(data) / "fashion-mnist", Path(data) / _TORCHVISION] if data else []
        folders.append(_DEBIAN)
    for folder in folders:
        if _file(folder, _images(_TRAINED)):
            return folder
    raise BadFile(
        f"Fashion-MNIST ({_images(_TRAINED)}[.gz] and so on) is not in {' or '.join(map(str, folders))}. "
        "Install it (apt install dataset-fashion-mnist), or say where it is with `data` DIR."
    )


def _images(split: str) -> str:
    return f"{split}-images-idx3-ubyte"


def _file(folder: Path, name: str) -> Path | None:
    """The file, plain or packed; None if there is neither."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if is_file(path)), None)


def _split(folder: Path, split: str, border: int) -> tuple[Bytes, Labels]:
    """Pixels (N, 1, H, W) and labels (N,) of one split."""
    pixels, _ = _read(folder, _images(split), (SIZE, SIZE))
    labels, file = _read(folder, f"{split}-labels-idx1-ubyte", ())
    if len(labels) != len(pixels):
        raise BadFile(f"{str(file)!r} has {len(labels)} labels for {len(pixels)} images.")
    check_labels(repr(str(file)), labels.astype(np.int64), CLASSES)
    edges = ((0, 0), (border, border), (border, border))
    return np.pad(pixels, edges)[:, None], labels.astype(np.int64)


def _read(folder: Path, name: str, shape: tuple[int, ...]) -> tuple[Bytes, Path]:
    """The array (N, *shape) uint8 of an idx file: magic number, lengths (big-endian, 4 bytes each), then the bytes."""
    path = _file(folder, name)
    if path is None:
        raise BadFile(f"{str(folder)!r} lacks {name}[.gz], which belongs to Fashion-MNIST.")
    content = _content(path)
    header = np.frombuffer(content[: 8 + 4 * len(shape)], np.uint8)
    if len(header) < 8 + 4 * len(shape) or header[:4].tolist() != [0, 0, 8, 1 + len(shape)]:
        raise BadFile(f"{str(path)!r} is no idx file of bytes with {1 + len(shape)} axes (its first bytes are others).")
    lengths = tuple(header.view(">u4")[1:].tolist())
    if lengths[1:] != shape or not lengths[0]:
        raise BadFile(f"{str(path)!r} holds an array of {lengths}, not of (N, {', '.join(map(str, shape))}).")
    values = np.frombuffer(content, np.uint8, offset=len(header))
    if len(values) != np.prod(lengths):
        raise BadFile(f"{str(path)!r} is cut off or too long: {len(values)} bytes for an array of {lengths}.")
    return values.reshape(lengths), path


def _content(path: Path) -> bytes:
    content = read_bytes(path, "file", _LARGEST)
    if path.suffix != ".gz":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(_LARGEST)
    except (OSError, EOFError, zlib.error) as error:  # gzip's own error is an OSError
        raise BadFile(f"{str(path)!r} is damaged or can't be read ({one_line(error)}).") from None
