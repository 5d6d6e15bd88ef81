"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour images of 32x32, from its binary or its Python version."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from ..errors import BadFile, BadValue, one_line
from ..storage.claims import CLAIMS, waiting_for
from ..storage.files import cache_folder, is_folder
from ..storage.reading import read_bytes
from .examples import Data, Labels, Request, check_labels, from_arrays
from .pixels import Bytes

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32
RECORD = 1 + 3 * SIZE * SIZE  # bytes in the binary version: the label, then the red, green and blue plane
_BINARY, _PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"
_TRAINED = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_HELD_OUT = ("test_batch.bin",)
_LARGEST = 2**28  # bytes of a file: nine times what they have
_PATIENCE = 3600.0  # seconds for another process to fetch it


def load_cifar10(request: Request) -> Data:
    """The training images; the test images are held out. Fetched by torchvision where they are nowhere and may be.

    Raises `BadValue` for another resolution than 32, `BadFile`, naming the file, for one that is missing or damaged.
    """
    if request.resolution != SIZE:
        raise BadValue(f"cifar10 has images of {SIZE} px, not {request.resolution}.")
    folder = _find(request.place) or _fetch(request)
    read = _read_binary if folder.name == _BINARY else _read_python
    pixels, labels = read(folder, True)
    return from_arrays("cifar10", pixels, labels, CLASSES, *read(folder, False))


def _places(place: str) -> list[Path]:
    """Where the folder of either version may lie: the given place alone, or where the data usually is."""
    if place:
        return [Path(place)]
    data = os.environ.get("DITBENCH_DATA")
    return [*([Path(data) / "cifar10", Path(data)] if data else []), cache_folder() / "cifar10"]


def _find(place: str) -> Path | None:
    """The folder of one of the versions; the binary one needs no unpickling, so it comes first."""
    for root in _places(place):
        for folder in (root.absolute(), root / _BINARY, root / _PYTHON):
            if folder.name in (_BINARY, _PYTHON) and is_folder(folder):
                return folder
    return None


def _fetch(request: Request) -> Path:
    """Torchvision's download into the cache."""
    where = " or ".join(map(str, _places(request.place)))
    way_out = f"Say with `data` DIR where {_BINARY} or {_PYTHON} is"
    if request.place or request.offline:
        raise BadFile(f"CIFAR-10 is not in {where}. {way_out}{', or fetch it without `offline`' * request.offline}.")
    root = cache_folder() / "cifar10"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with waiting_for(root / CLAIMS, _PATIENCE):
            CIFAR10(str(root), download=True)
    except (OSError, RuntimeError) as error:  # no network, no space, or a file with another checksum
        reason = one_line(error)
        raise BadFile(f"CIFAR-10 is not in {where} and can't be fetched ({reason}). {way_out}.") from None
    return root / _PYTHON


def _read_binary(folder: Path, trained: bool) -> tuple[Bytes, Labels]:
    """Pixels (N, 3, 32, 32) and labels (N,) of one split."""
    records = np.concatenate([_records(folder / name) for name in (_TRAINED if trained else _HELD_OUT)])
    return records[:, 1:].reshape(-1, 3, SIZE, SIZE), records[:, 0].astype(np.int64)


def _records(path: Path) -> Bytes:
    content = np.frombuffer(read_bytes(path, "file", _LARGEST), np.uint8)
    if not len(content) or len(content) % RECORD:
        raise BadFile(f"{str(path)!r} is cut off: {len(content)} bytes are no multiple of {RECORD}.")
    records = content.reshape(-1, RECORD)
    check_labels(repr(str(path)), records[:, 0].astype(np.int64), CLASSES)
    return records


def _read_python(folder: Path, trained: bool) -> tuple[Bytes, Labels]:
    """The same from the Python version, whose pickles torchvision opens after their checksums alone."""
    for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]:
        if not check_integrity(folder / name, md5):
            raise BadFile(f"{str(folder / name)!r} is missing or damaged (its checksum). Unpack CIFAR-10 again.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)  # NumPy of the pickles' age
        found = CIFAR10(str(folder.parent), train=trained)
    return np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)), np.asarray(found.targets, np.int64)
