"""Prepared data on disk: shards of rows that are memory-mapped, and a manifest that says what they are.

A folder holds ``manifest.json``, ``shard-00000.safetensors``... and, for latents, ``autoencoder/`` with the weights
that made them. ``plan.json`` says what the folder is being made of, and is written first of all; ``parts/`` has a
note and a lock for each shard (see `worker`), which whoever goes on with the folder needs, and nobody who reads it.

Shard k is of the images k*S to (k+1)*S of the source, less those that were skipped: n of them. It has

- ``rows``, as `Examples` has them: pixels (n, 3, R, R) uint8, or moments (2n, 2, C, h, w) float16, of which 2i is of
  the image and 2i + 1 of its mirror image; of clips (n, F, 3, R, R), or (2n, 2, F, C, h, w). Of an autoencoder that is
  deterministic they are the latents, (2n, C, h, w) or (2n, F, C, h, w);
- ``labels`` (n,) int64, and ``digests`` (n, 32) uint8: sha256 of the encoded images that were read.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pydantic
import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open

from ..errors import BadFile, BadValue
from ..records.facts import Reconstruction
from ..runtime.memory import capacity
from ..runtime.progress import CountCallback
from ..storage.files import Unwritable, cache_folder, exists, in_cache, make_folder, sha256_of, write_text
from ..storage.reading import Unreadable, check_file, read_bytes, reason_of
from ..storage.schema import Count, Frozen, Model, Positive, Sha256, digest, first_fault, later
from .entries import trace_of
from .examples import AutoencoderFacts, Labels, check_labels
from .raw import Cut

MANIFEST, PLAN, AUTOENCODER, PARTS = "manifest.json", "plan.json", "autoencoder", "parts"
_LARGEST = 2**28  # bytes of what tells of shards
_CHUNK = 64  # images whose statistics are summed at a time
_logger = logging.getLogger(__name__)

RowKind = Literal["pixels", "latents"]
Sums = npt.NDArray[np.float64]  # (2, C)
_STAMPS = pydantic.TypeAdapter(dict[str, list[int | str]])


class ImageSource(Frozen):
    """Where the images came from."""

    name: str
    place: str  # what opens it again: a folder, or "hf:NAME"
    split: str
    listing: Sha256  # of names and sizes, and of how clips are cut out
    stamp: str = ""  # see `RawImages`; as long as both stay the same, nobody reads the images anew to know them
    images: Positive


class PreparationPlan(Frozen):
    """What a folder is being made of. Whoever works on it agrees on this."""

    schema_version: Literal[1] = 1
    resolution: Positive  # of the images
    autoencoder: AutoencoderFacts | None  # None: pixels
    source: ImageSource
    class_names: tuple[str, ...]  # empty: unconditional
    skip_bad: bool
    shard_size: Positive  # images of the source in a shard
    cut: Cut | None = later(None)  # of clips, which each video of the source gives one of; None: images

    @property
    def kind(self) -> RowKind:
        """What rows are."""
        return "latents" if self.autoencoder else "pixels"

    @property
    def views(self) -> int:
        """Rows of an image: moments have its mirror image, too, pixels are mirrored when they are read."""
        return 2 if self.autoencoder else 1

    @property
    def moments(self) -> bool:
        """Whether rows are mean and deviation of a posterior."""
        return self.autoencoder is not None and self.autoencoder.statistics == "posterior"

    @property
    def frames(self) -> int:
        """Of a clip; 1: images."""
        return 1 if self.cut is None else self.cut.frames

    @property
    def noun(self) -> str:
        """What an example is."""
        return "image" if self.cut is None else "clip"

    @property
    def row_shape(self) -> tuple[int, ...]:
        """([F,] 3, R, R), ([F,] C, h, w), or of moments (2, [F,] C, h, w)."""
        frames = () if self.cut is None else (self.cut.frames,)
        if self.autoencoder is None:
            return *frames, 3, self.resolution, self.resolution
        side = self.resolution // self.autoencoder.factor
        return *((2,) if self.moments else ()), *frames, self.autoencoder.channels, side, side

    @property
    def bytes_per_image(self) -> int:
        """Of all its rows: whole numbers of 8 bits, or floats of 16."""
        return self.views * math.prod(self.row_shape) * (2 if self.autoencoder else 1)

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.source.images // self.shard_size)

    def images_of(self, shard: int) -> range:
        """The images of the source that a shard is of."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.source.images))


def check_memory(plan: PreparationPlan) -> None:
    """`BadValue` if a shard, which is made in memory, surely does not fit: its rows, and their copy in one piece."""
    images, memory = len(plan.images_of(0)), capacity(torch.device("cpu"))
    needed = 2 * images * plan.bytes_per_image
    if needed > memory:
        raise BadValue(
            f"A shard of {images:,} {plan.noun}s of {plan.resolution:,} pixels takes {needed / 2**30:,.1f} GiB of "
            f"memory, and this machine has {memory / 2**30:,.1f} GiB; choose a smaller resolution."
        )


class Shard(Frozen):
    """One file."""

    count: Count  # of examples
    bytes: Positive
    sha256: Sha256


class Skipped(Frozen):
    """An image or a video that can't be read."""

    index: Count  # in the source's listing
    file: str


class Manifest(Frozen):
    """What a finished folder holds. Statistics are per channel: of pixels in [-1, 1], or of latents after the map of
    their autoencoder's own, which is what a denoiser sees unless its track normalises them.
    """

    plan: PreparationPlan
    count: Positive  # of examples
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    skipped: tuple[Skipped, ...]
    source_sha256: Sha256  # of the encoded images, as `crop.hash_images` tells it
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ditbench: str  # the version that made it
    reconstruction: tuple[Reconstruction, ...] = later(())  # by `ditbench data floor`, one for an extractor

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.shards) != self.plan.shards or sum(shard.count for shard in self.shards) != self.count:
            raise ValueError("the shards don't add up")
        if self.count + len(self.skipped) != self.plan.source.images:
            raise ValueError("examples and skipped images don't add up")
        return self

    @property
    def sha256(self) -> str:
        """Hash of what the rows are of: images, classes, autoencoder. Their bits differ a little from GPU to GPU."""
        plan, skipped = self.plan, [one.index for one in self.skipped]
        by = plan.autoencoder and plan.autoencoder.sha256
        return digest([self.source_sha256, plan.source.listing, plan.class_names, plan.resolution, skipped, by])


class ShardedRows:
    """Rows of many memory-mapped files as if they were one array; reading some touches no more than these."""

    def __init__(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    @property
    def shape(self) -> tuple[int, ...]:
        return int(self._ends[-1]), *self._parts[0].shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._parts[0].dtype

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """A copy of the rows of these numbers, in their order."""
        if len(rows) and (rows.min() < 0 or rows.max() >= self._ends[-1]):
            raise IndexError(f"rows run from 0 to {self._ends[-1] - 1}")
        parts = np.searchsorted(self._ends, rows, side="right")
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, (part, row) in enumerate(zip(parts.tolist(), (rows - self._ends[parts]).tolist(), strict=True)):
            found[place] = self._parts[part][row]  # row counts from the part's end
        return found


@dataclass(frozen=True, eq=False)
class Prepared:
    """A finished folder, opened and checked."""

    folder: Path
    manifest: Manifest
    rows: ShardedRows
    labels: Labels  # (N,)


def shard_path(folder: Path, shard: int) -> Path:
    """The file of a shard."""
    return folder / f"shard-{shard:05d}.safetensors"


def is_prepared(folder: Path) -> bool:
    """Whether this is a folder that `ditbench data prepare` makes or has made; others, too, have a manifest.json."""
    made, begun = (folder / MANIFEST, shard_path(folder, 0)), (folder / PLAN, folder / PARTS)
    return any(all(map(exists, paths)) for paths in (made, begun))


def again(folder: Path) -> str:
    """What makes of a folder what it should be: a command of its own, or whichever filled the cache."""
    return "give the command again" if in_cache(folder) else "run the same `ditbench data prepare` again"


def open_prepared(folder: Path, remember: bool = True, report: CountCallback = lambda done, of: None) -> Prepared:
    """Map the shards of a finished folder, checked through and through.

    The checksum of a file that has not changed since it was last found right is not computed again, unless `remember`
    is False. report: hears how many images' checksums are. Raises `BadFile`, naming the file.
    """
    manifest = read_manifest(folder)
    paths = [shard_path(folder, shard) for shard in range(len(manifest.shards))]
    mapped = [_map(path, shard, manifest.plan) for path, shard in zip(paths, manifest.shards, strict=True)]
    _check_sums(folder, paths, manifest, remember, report)
    labels = np.concatenate([labels for _, labels in mapped])
    check_labels(f"The prepared data {folder.name!r}", labels, manifest.plan.class_names)
    return Prepared(folder, manifest, ShardedRows([rows for rows, _ in mapped]), labels)


def read_manifest(folder: Path) -> Manifest:
    """What a folder says it holds; `BadFile` if it is not prepared, or not ready."""
    path = folder / MANIFEST
    if not exists(path) and exists(folder / PLAN):
        raise BadFile(f"The preparation of {str(folder)!r} is not finished: {again(folder)} to resume it.")
    if not exists(path):
        raise BadFile(f"{str(folder)!r} is no prepared data: it has no {MANIFEST}. `ditbench data prepare` makes some.")
    return read_json(path, Manifest)


def read_json(path: Path, model: type[Model]) -> Model:
    """A JSON file of a prepared folder, checked."""
    try:
        return model.model_validate_json(read_bytes(path, "file", _LARGEST))
    except pydantic.ValidationError as error:
        whole = path.name == PLAN  # without which nobody knows what the shards are of
        wrong = f"the whole folder {str(path.parent)!r}, if ditbench has made it," if whole else "it"
        raise BadFile(f"{str(path)!r} is wrong: {first_fault(error)}. Remove {wrong} and {again(path)}.") from None


def sums(rows: npt.NDArray[Any], moments: bool) -> Sums:
    """Sums per channel of E[x] and E[x^2], (2, C): x is drawn from the posterior, a latent, or a pixel in [-1, 1]."""
    total: Sums = np.zeros((2, rows.shape[-3]))
    chunk = max(1, _CHUNK // math.prod(rows.shape[1 + moments : -3]))  # of clips, as many frames
    others = tuple(axis for axis in range(rows.ndim - moments) if axis != rows.ndim - moments - 3)
    for start in range(0, len(rows), chunk):
        some = rows[start : start + chunk].astype(np.float64)
        if moments:
            first, second = some[:, 0], some[:, 0] ** 2 + some[:, 1] ** 2
        else:
            first = some / 127.5 - 1 if rows.dtype == np.uint8 else some
            second = first**2
        total += np.stack([first.sum(others), second.sum(others)])
    return total


def mean_and_std(total: Sums, plan: PreparationPlan, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, of what a denoiser sees of `count` examples, from the sum of their `sums`."""
    _, height, width = plan.row_shape[-3:]
    first, second = total / (count * plan.views * plan.frames * height * width)
    mean, std = first, np.sqrt(np.maximum(second - first**2, 0))
    if plan.autoencoder is not None:
        mean, std = plan.autoencoder.latent_map.statistics(mean, std)
    return tuple(mean.tolist()), tuple(std.tolist())


def _map(path: Path, shard: Shard, plan: PreparationPlan) -> tuple[npt.NDArray[Any], Labels]:
    """Rows, memory-mapped, and labels. torch's mapping is lazy and holds no file open; that of numpy would."""
    try:
        size = check_file(path, "shard")
        with safe_open(path, "pt") as file:
            rows, labels = file.get_tensor("rows").numpy(), file.get_tensor("labels").numpy().copy()
    except (OSError, SafetensorError, TypeError, Unreadable) as error:
        raise _unreadable(path, error) from None
    expected = (shard.count * plan.views, *plan.row_shape), np.float16 if plan.autoencoder else np.uint8
    if size != shard.bytes or (rows.shape, rows.dtype) != expected or labels.shape != (shard.count,):
        raise BadFile(f"The shard {str(path)!r} is not what {MANIFEST} says. {_way_out(path)}")
    rows.flags.writeable = False
    return rows, labels.astype(np.int64, copy=False)


def read_digests(path: Path) -> npt.NDArray[np.uint8]:
    """Hashes of the encoded images that a shard was made of, (n, 32); `BadFile` if it is damaged."""
    try:
        check_file(path, "shard")
        with safe_open(path, "np") as file:
            digests: npt.NDArray[np.uint8] = file.get_tensor("digests")
    except (OSError, SafetensorError, TypeError, Unreadable) as error:
        raise _unreadable(path, error) from None
    return digests


def _unreadable(path: Path, error: Exception) -> BadFile:
    reason = error.reason if isinstance(error, Unreadable) else reason_of(error).replace(str(path), path.name)
    return BadFile(f"The shard {str(path)!r} can't be read ({reason}). {_way_out(path)}")


def _way_out(path: Path) -> str:
    return f"Remove it and {again(path)}."


def _check_sums(folder: Path, paths: Sequence[Path], manifest: Manifest, remember: bool, report: CountCallback) -> None:
    shards, done = manifest.shards, 0
    memory = cache_folder() / "verified" / f"{digest(str(folder.resolve()), 32)}.json"
    stamps = {path.name: _stamp(path, shard) for path, shard in zip(paths, shards, strict=True)}
    known = _recall(memory) if remember else {}
    new = [n for n, path in enumerate(paths) if known.get(path.name) != stamps[path.name]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for n, found in zip(new, pool.map(sha256_of, [paths[n] for n in new]), strict=True):
            if found != shards[n].sha256:
                pool.shutdown(wait=False, cancel_futures=True)
                raise BadFile(f"The shard {str(paths[n])!r} is damaged: its checksum is another. {_way_out(paths[n])}")
            done += shards[n].count
            report(done, manifest.count)
    if new:
        _memorise(memory, stamps)


def _stamp(path: Path, shard: Shard) -> list[int | str]:
    """As long as this stays the same, so does the file."""
    return [*trace_of(path), shard.sha256]


def _recall(memory: Path) -> dict[str, list[int | str]]:
    """Stamps of the files that were right; what can't be read is as good as nothing, and is found out anew."""
    try:
        return _STAMPS.validate_json(read_bytes(memory, "memory of checksums", _LARGEST))
    except (BadFile, pydantic.ValidationError):
        return {}


def _memorise(memory: Path, stamps: dict[str, list[int | str]]) -> None:
    try:
        make_folder(memory.parent)
        write_text(memory, _STAMPS.dump_json(stamps).decode())
    except Unwritable as error:
        _logger.warning("the cache %s can't be written (%s); DITBENCH_CACHE names another", memory.parent, error.reason)
