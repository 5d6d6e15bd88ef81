"""Built-in datasets: real images as bytes, with labels, class names and a content hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sklearn.datasets

from .errors import BadFile


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images in memory: pixels (N, C, H, W) uint8, labels (N,) int64 in [0, classes)."""

    name: str
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            raise BadFile(f"Dataset {self.name!r}: pixels are {self.pixels.dtype} {self.pixels.shape}, not uint8 NCHW.")
        if self.pixels.shape[2] != self.pixels.shape[3]:
            raise BadFile(f"Dataset {self.name!r}: images are {self.pixels.shape[2:]}, not square.")
        if self.labels.shape != self.pixels.shape[:1]:
            raise BadFile(f"Dataset {self.name!r}: {len(self.pixels)} images but labels {self.labels.shape}.")
        present = np.bincount(self.labels, minlength=len(self.class_names))
        if len(present) != len(self.class_names) or not present.all():
            raise BadFile(f"Dataset {self.name!r}: labels do not cover 0..{len(self.class_names) - 1}.")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def sha256(self) -> str:
        """Of the pixels and the labels, shapes included."""
        content = hashlib.sha256(repr((self.pixels.shape, self.labels.shape)).encode())
        content.update(self.pixels.tobytes())
        content.update(self.labels.tobytes())
        return content.hexdigest()


def load_digits() -> Images:
    """scikit-learn's copy of the UCI handwritten digits: 1,797 images of 8x8, values 0..16 as bytes."""
    digits = sklearn.datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return Images("digits", pixels, digits.target.astype(np.int64), tuple(str(c) for c in range(10)))
