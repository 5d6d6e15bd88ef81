"""A run's samples on disk while they are measured: memory holds one batch, and an interruption loses one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
import torch
from torch import nn

from ..datasets.autoencoder import Codec
from ..datasets.examples import Labels
from ..datasets.loading import Numbers
from ..datasets.pixels import Bytes
from ..denoiser_spec import DenoiserSpec
from ..errors import BadFile, one_line
from ..records.derived import sampling_rate
from ..records.facts import SamplingFacts
from ..runtime.distributed import ALONE, World
from ..runtime.precision import placed
from ..runtime.progress import Diverged, Interrupted, Progress, Watch
from ..storage.files import exists, reserve, write_text, writing
from ..storage.reading import check_file, read_bytes
from ..storage.schema import Count, Frozen, Number, read_checked
from .generate import SampledBatch, generate
from .walking import SamplingPlan, labels_of, labels_sha256

Mapped = np.memmap[tuple[int, ...], np.dtype[np.uint8]]
_CHUNK = 100  # images that are read back at a time


@dataclass(frozen=True, eq=False)
class Drawing:
    """Which samples a run draws, and how."""

    plan: SamplingPlan
    spec: DenoiserSpec
    sampler: str  # its name
    count: int  # of images
    batch_size: int  # of each process
    image_shape: tuple[int, ...]  # (C, H, W) of what samples become, or (F, C, H, W)
    device: torch.device
    autoencoder: Codec | None  # of latents


class _Done(Frozen):
    """What is in the file so far, and whose images they are."""

    weights: str
    batch_images: list[Count] = []
    batch_seconds: list[Number] = []
    decode_seconds: Number = 0.0
    evaluations: Count = 0
    compile_seconds: Number = 0.0

    def and_also(self, batch: SampledBatch) -> _Done:
        return _Done(
            weights=self.weights,
            batch_images=[*self.batch_images, len(batch.labels)],
            batch_seconds=[*self.batch_seconds, round(batch.seconds, 6)],
            decode_seconds=round(self.decode_seconds + batch.decode_seconds, 6),
            evaluations=batch.evaluations,
            compile_seconds=round(self.compile_seconds + batch.compile_seconds, 6),
        )


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, and how they came about."""

    pixels: Bytes  # (N, C, H, W) uint8, or (N, F, C, H, W), memory-mapped
    labels: Labels  # (N,)
    files: tuple[Path, Path]
    weights: Literal["ema", "raw"]
    drawing: Drawing
    done: _Done
    stem: str  # of the files' names

    @cached_property
    def facts(self) -> SamplingFacts:
        """For the record; reads all images."""
        return SamplingFacts(
            sampler=self.drawing.sampler,
            steps=self.drawing.plan.steps,
            evaluations=self.done.evaluations,
            weights=self.weights,
            labels_sha256=labels_sha256(self.labels),
            images_sha256=_sha256(self.pixels),
            batch_images=self.done.batch_images,
            batch_seconds=self.done.batch_seconds,
            images_per_second=sampling_rate(self.done.batch_images, self.done.batch_seconds),
            decode_seconds=self.done.decode_seconds,
            compile_seconds=self.done.compile_seconds,
        )

    def discard(self) -> None:
        """Remove the files: what is measured can be sampled again."""
        _remove(self.files)


def draw(
    drawing: Drawing,
    denoiser: nn.Module,
    directory: Path,
    watch: Watch,
    stem: str = "samples",
    world: World = ALONE,
) -> None:
    """Write the samples into files of the directory, going on where a call with the same weights was stopped.

    `samples_in` reads them. Several processes share each batch, and the main one writes; all return when the files are
    there. Raises `Interrupted` between batches, and `Diverged` if an image is infinite or NaN.
    """
    images, progress = _files(directory, stem)
    done = world.from_main(_read(progress, images, _fingerprint(denoiser)) if world.main else None) or _Done(weights="")
    begun, count = sum(done.batch_images), drawing.count
    file = _open(images, begun, _stored_shape(drawing), world)
    watch.report(Progress("sample", begun / count, begun))
    for batch in batches(drawing, denoiser, range(begun, count), world):
        if any(world.all(watch.should_stop())):
            raise Interrupted("stopped on request")
        done = done.and_also(batch)
        if world.main:
            file[begun : begun + len(batch.labels)] = np.moveaxis(batch.pixels, -3, -1)
            with writing(images):
                file.flush()
            write_text(progress, done.model_dump_json())
        begun += len(batch.labels)
        rate = len(batch.labels) / (batch.seconds + batch.decode_seconds)
        watch.report(Progress("sample", begun / count, begun, rate, seconds_left=(count - begun) / rate))
    world.all(None)  # the main process has written all


def are_drawn(directory: Path, stem: str) -> bool:
    """Whether a directory has samples of this stem, or a part of them."""
    return all(map(exists, _files(directory, stem)))


def discard(directory: Path, stem: str) -> None:
    """Remove what is drawn of this stem: it can be drawn again."""
    _remove(_files(directory, stem))


def _remove(files: tuple[Path, Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)


def samples_in(drawing: Drawing, weights: Literal["ema", "raw"], directory: Path, stem: str = "samples") -> Samples:
    """What `draw` has left. `BadFile` if that is not all of the samples, or not the form that they have."""
    images, progress = _files(directory, stem)
    done = read_checked(_Done, progress, kind="progress of sampling")
    check_file(images, "file of samples")
    try:
        file = np.lib.format.open_memmap(images, "r")
    except (OSError, ValueError) as error:
        raise BadFile(f"The samples {images.name!r} in {directory.name!r} can't be read: {one_line(error)}.") from None
    if file.shape != _stored_shape(drawing) or file.dtype != np.uint8 or sum(done.batch_images) != drawing.count:
        raise BadFile(f"The samples {images.name!r} in {directory.name!r} are not the {drawing.count} that were to be.")
    pixels: Bytes = np.moveaxis(file, -1, -3)
    labels = labels_of(drawing.plan, np.arange(drawing.count), drawing.spec.classes)
    return Samples(pixels, labels, (images, progress), weights, drawing, done, stem)


def _files(directory: Path, stem: str) -> tuple[Path, Path]:
    """The images, and how far drawing them is."""
    return directory / f"{stem}.partial.npy", directory / f"{stem}.partial.json"


def _stored_shape(drawing: Drawing) -> tuple[int, ...]:
    *frames, channels, height, width = drawing.image_shape
    return drawing.count, *frames, height, width, channels


def batches(drawing: Drawing, denoiser: nn.Module, indices: range, world: World = ALONE) -> Iterator[SampledBatch]:
    """The samples of these numbers, batch by batch; the autoencoder is on the device as long as that takes.

    Several processes make a batch each at a time, and all get the whole.
    """
    size, coder = drawing.batch_size, drawing.autoencoder
    together = size * world.size

    def make(numbers: Numbers) -> SampledBatch | None:
        return next(generate(denoiser, drawing.spec, drawing.plan, numbers, size, drawing.device), None)

    try:
        if coder:
            placed(coder.network.module, drawing.device)
        for start in range(indices.start, indices.stop, together):
            numbers = np.arange(start, min(start + together, indices.stop))
            yield shared(make, numbers, world)
    finally:
        if coder:
            coder.network.module.to("cpu")


def shared(make: Callable[[Numbers], SampledBatch | None], numbers: Numbers, world: World) -> SampledBatch:
    """Some images of which every process makes a part; their time is the slowest's. `Diverged` on all, if on one."""
    made: SampledBatch | Diverged | None
    try:
        made = make(numbers[world.share(len(numbers))])
    except Diverged as error:
        made = error
    found = [part for part in world.all(made) if part is not None]
    for fault in found:
        if isinstance(fault, Diverged):
            raise fault
    batches = [part for part in found if isinstance(part, SampledBatch)]
    return SampledBatch(
        np.concatenate([part.pixels for part in batches]),
        np.concatenate([part.labels for part in batches]),
        max(part.seconds for part in batches),
        max(part.decode_seconds for part in batches),
        batches[0].evaluations,
        max(part.compile_seconds for part in batches),
    )


def _open(path: Path, begun: int, shape: tuple[int, ...], world: World) -> Mapped:
    """The file of images, which the main process writes and the others read."""
    if world.main:
        with writing(path):
            file = np.lib.format.open_memmap(path, "r+" if begun else "w+", dtype=np.uint8, shape=shape)
        reserve(path)
        world.all(None)
        return file
    world.all(None)  # it is there
    return np.lib.format.open_memmap(path, "r")


def _read(progress: Path, images: Path, weights: str) -> _Done:
    """What an interrupted call left of the same weights; else nothing."""
    try:
        done = _Done.model_validate_json(read_bytes(progress, "progress of sampling"))
    except (BadFile, pydantic.ValidationError):
        return _Done(weights=weights)
    return done if done.weights == weights and images.exists() else _Done(weights=weights)


def _fingerprint(network: nn.Module) -> str:
    """sha256 of a network's weights."""
    content = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _batches(pixels: Bytes, size: int) -> Iterator[Bytes]:
    return (np.ascontiguousarray(pixels[start : start + size]) for start in range(0, len(pixels), size))


def _sha256(pixels: Bytes) -> str:
    content = hashlib.sha256()
    for part in _batches(pixels, _CHUNK):
        content.update(part.tobytes())
    return content.hexdigest()
