"""What a data set gives: labelled examples to train on, and the real images that samples are compared with.

Letters in shapes: N examples, V views of each (2 if a mirrored copy is stored), C channels, H = W; of clips, which have
a frame's axis before C, F frames.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..denoiser_spec import Space
from ..errors import BadFile, demand
from ..runtime.progress import CountCallback
from ..storage.schema import Frozen, Positive
from .image_sets import ImageSet, in_memory
from .pixels import Bytes

Labels = npt.NDArray[np.int64]
_AXES = (4, 5)  # of pixels: images, clips


class Rows(Protocol):
    """Rows that are read by their numbers, like those of an ndarray; memory-mapped ones read no more than that."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a data set."""

    resolution: int  # of the images, in pixels
    frames: int = 1  # of clips; 1: images
    interval: int = 1  # frames of the source from one of a clip to the next
    space: Space = "pixel"
    place: str = ""  # a folder, or whatever names the data; empty: where the data set usually lies
    downsampling: int = 1  # pixels per latent cell; this and the next three are for data that does not tell (synthetic)
    channels: int | None = None  # of what the denoiser sees
    images: int | None = None
    classes: int | None = None
    skip_bad: bool = False  # leave unreadable images out, and count them
    offline: bool = False
    report: CountCallback = lambda done, of: None  # images prepared so far, of how many


@dataclass(frozen=True, eq=False)
class Examples:
    """What training reads. Example i has the rows V*i to V*i + V - 1, the second of two being its mirror image.

    rows: pixels (N*V, [F,] C, H, W) uint8, or posterior moments of latents (N*V, 2, [F,] C, H, W), mean and standard
    deviation, float16 and not scaled. labels: (N,) in [0, classes), all 0 without classes.
    """

    rows: Rows
    labels: Labels
    views: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def space(self) -> Space:
        """Pixels are bytes, and moments of latents are not."""
        return "pixel" if self.rows.dtype == np.uint8 else "latent"

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of what the denoiser sees, or (F, C, H, W)."""
        return self.rows.shape[1 if self.space == "pixel" else 2 :]

    @property
    def frames(self) -> int:
        """Of a clip; 1: images."""
        *frames, _, _, _ = self.shape
        return frames[0] if frames else 1


class AutoencoderFacts(Frozen):
    """Which autoencoder makes latents, and how it does."""

    name: str  # on the Hugging Face hub, or its folder's, without the way to it
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of what it computes
    scale: Annotated[float, Field(gt=0)]  # what latents are multiplied with to have unit variance
    factor: Positive  # pixels per latent cell, along a side
    channels: Positive  # of the latents


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, opened and checked."""

    name: str
    sha256: str  # of the content: the examples, their labels and the classes' names
    examples: Examples
    class_names: tuple[str, ...]  # empty: unconditional
    images: ImageSet | None  # the training images, uint8; None: gone, or there never were any
    held_out: ImageSet | None = None  # real images of the same kind that are not trained on
    held_out_labels: Labels | None = None  # None: not known
    aside: Examples | None = None  # the same as the denoiser sees them; where labels are not known, all 0
    aside_labelled: bool = False  # whether they are known
    skipped: int = 0  # images that were left out because they can't be read
    autoencoder: AutoencoderFacts | None = None  # of latents; None: pixels, or noise
    autoencoder_folder: Path | None = None  # with its weights
    synthetic: bool = False  # noise: nothing can be said of quality
    images_gone: str = ""  # why images that there were are gone, a sentence

    @property
    def space(self) -> Space:
        """Of the examples."""
        return self.examples.space

    @property
    def scale(self) -> float:
        """What rows of latents are multiplied with to have unit variance."""
        return self.autoencoder.scale if self.autoencoder else 1.0


def from_arrays(
    name: str,
    pixels: Bytes,
    labels: Labels,
    class_names: tuple[str, ...],
    held_out: Bytes | None = None,
    held_out_labels: Labels | None = None,
) -> Data:
    """A data set of images that are in memory: pixels (N, C, H, W) uint8, of clips (N, F, C, H, W), labels (N,) int64.

    Raises `BadFile` if they don't fit each other.
    """
    demand("name", name, str)
    for argument, array in (("pixels", pixels), ("labels", labels)):
        demand(argument, array, np.ndarray)
    demand("class_names", class_names, tuple, list)
    _check(name, pixels, labels, class_names)
    sha256 = _content(pixels, labels, class_names)
    aside = None if held_out is None else in_memory(f"{name} (held out)", held_out, _content(held_out))
    rows = None
    if held_out is not None:
        known = np.zeros(len(held_out), np.int64) if held_out_labels is None else held_out_labels
        rows = Examples(held_out, known)
    images = in_memory(name, pixels, sha256)
    examples, labelled = Examples(pixels, labels), held_out_labels is not None
    return Data(name, sha256, examples, class_names, images, aside, held_out_labels, rows, labelled)


def _check(name: str, pixels: Bytes, labels: Labels, class_names: tuple[str, ...]) -> None:
    if pixels.ndim not in _AXES or pixels.dtype != np.uint8:
        raise BadFile(f"Dataset {name!r}: pixels are {pixels.dtype} {pixels.shape}, not uint8 NCHW, of clips NFCHW.")
    if pixels.shape[-2] != pixels.shape[-1]:
        raise BadFile(f"Dataset {name!r}: images are {pixels.shape[-2:]}, not square.")
    if pixels.ndim == max(_AXES) and pixels.shape[1] < 2:
        raise BadFile(f"Dataset {name!r}: a clip has {pixels.shape[1]} frames, and with fewer than two it is an image.")
    if labels.shape != pixels.shape[:1] or not len(labels):
        raise BadFile(f"Dataset {name!r}: {len(pixels)} images but labels {labels.shape}.")
    check_labels(f"Dataset {name!r}", labels, class_names)


def check_labels(where: str, labels: Labels, class_names: tuple[str, ...], noun: str = "image") -> None:
    """`BadFile` if a label is out of range, or a class has no example."""
    classes = max(1, len(class_names))
    if labels.min() < 0 or labels.max() >= classes:
        bad = labels[(labels < 0) | (labels >= classes)][0]
        raise BadFile(f"{where}: label {bad} is out of range; there are {len(class_names)} classes.")
    empty = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(empty):
        raise BadFile(f"{where}: class {class_names[empty[0]]!r} has no {noun}.")


def _content(pixels: Bytes, labels: Labels | None = None, class_names: tuple[str, ...] = ()) -> str:
    content = hashlib.sha256(repr((pixels.shape, class_names)).encode())
    content.update(np.ascontiguousarray(pixels).tobytes())
    content.update(b"" if labels is None else labels.astype("<i8").tobytes())
    return content.hexdigest()
