"""What a data set gives: labelled examples to train on, and the real images that samples are compared with.

Letters in shapes: N examples, V views of each (2 if a mirrored copy is stored), C channels, H = W; of clips, which have
a frame's axis before C, F frames.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field

from ..denoiser_spec import Space
from ..errors import BadFile, demand
from ..records.facts import Reconstruction
from ..runtime.progress import CountCallback
from ..storage.schema import Frozen, Name, Positive, later
from .image_sets import ImageSet, in_memory
from .latent_map import LatentMap
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

    rows: pixels (N*V, [F,] C, H, W) uint8; or posterior moments of latents (N*V, 2, [F,] C, H, W), mean and standard
    deviation; or latents that nothing is drawn of, (N*V, [F,] C, H, W); float16 and not scaled.
    labels: (N,) in [0, classes), all 0 without classes.
    """

    rows: Rows
    labels: Labels
    views: int = 1
    drawn: bool = True  # of latents: whether rows are moments

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def space(self) -> Space:
        """Pixels are bytes, and moments of latents are not."""
        return "pixel" if self.rows.dtype == np.uint8 else "latent"

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of what the denoiser sees, or (F, C, H, W)."""
        return self.rows.shape[2 if self.moments else 1 :]

    @property
    def moments(self) -> bool:
        """Whether rows are a posterior's mean and standard deviation."""
        return self.space == "latent" and self.drawn

    @property
    def frames(self) -> int:
        """Of a clip; 1: images."""
        *frames, _, _, _ = self.shape
        return frames[0] if frames else 1


class AutoencoderFacts(Frozen):
    """Which autoencoder makes latents, and how it does.

    A denoiser sees (z - shift) / std * scale of a latent z, unless the track normalises by channel.
    """

    name: str  # on the Hugging Face hub, or its folder's, without the way to it
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of what it computes
    scale: Annotated[float, Field(gt=0)]  # what latents are multiplied with to have unit variance
    factor: Positive  # pixels per latent cell, along a side
    channels: Positive  # of the latents
    kind: Name = later("kl")  # the component that opened it
    statistics: Literal["posterior", "deterministic"] = later("posterior")  # mean and deviation of a latent, or itself
    shift: tuple[float, ...] = later(())  # one for all channels, or one for each; none: 0
    std: tuple[Annotated[float, Field(gt=0)], ...] = later(())  # of each channel; none: 1
    resolution: Positive | None = later(None)  # of the only images that it takes; None: all that the factor divides
    trained_with: tuple[Name, ...] = later((), max_length=20)  # networks whose features its latents are

    @pydantic.model_validator(mode="after")
    def _by_channel(self) -> Self:
        if len(self.shift) not in (0, 1, self.channels) or len(self.std) not in (0, self.channels):
            raise ValueError(f"shift and std are of {len(self.shift)} and {len(self.std)} of {self.channels} channels")
        return self

    @property
    def latent_map(self) -> LatentMap:
        """What a denoiser sees of a latent by the autoencoder's own numbers."""
        factor = tuple(self.scale / std for std in self.std) if self.std else (self.scale,)
        return LatentMap(factor, self.shift)


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
    mean: tuple[float, ...] = ()  # of latents, of each channel, after the autoencoder's own map; empty: not known
    std: tuple[float, ...] = ()
    normalised: bool = False  # whether a denoiser sees them less their mean, by their deviation
    reconstruction: tuple[Reconstruction, ...] = ()  # how close to images their decoded latents are, where measured

    @property
    def space(self) -> Space:
        """Of the examples."""
        return self.examples.space

    @property
    def latent_map(self) -> LatentMap:
        """From rows of latents to what a denoiser sees."""
        own = self.autoencoder.latent_map if self.autoencoder else LatentMap()
        return own.normalised(self.mean, self.std) if self.normalised else own

    def normalise(self) -> Data:
        """The same, whose latents a denoiser sees normalised by channel; `BadFile` if their statistics don't allow it.

        Noise is normal as it is.
        """
        if self.synthetic:
            return self
        if not self.std:
            raise BadFile(f"{self.name!r} does not tell mean and deviation of its latents' channels.")
        if flat := [channel for channel, std in enumerate(self.std) if not std > 0]:
            raise BadFile(
                f"Channel {flat[0]} of the latents of {self.name!r} never changes, so it can't be normalised."
            )
        return replace(self, normalised=True)


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
