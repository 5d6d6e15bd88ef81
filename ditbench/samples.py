"""A run's samples on disk while they are measured: memory holds one batch, and an interruption loses one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
import torch
from torch import nn

from . import precision, sampling
from .derived import sampling_rate
from .images import Bytes
from .parts import Parts
from .record import SamplingFacts
from .sampling import Labels
from .storage import write_text
from .track import Frozen, RunConfig
from .watch import Progress, Watch

_CHUNK = 100  # images that are read back at a time


class _Done(Frozen):
    """What is in the file so far, and whose images they are."""

    weights: str
    batch_images: list[int] = []
    batch_seconds: list[float] = []
    decode_seconds: float = 0.0
    evaluations: int = 0

    def and_also(self, batch: sampling.Batch) -> _Done:
        return _Done(
            weights=self.weights,
            batch_images=[*self.batch_images, len(batch.labels)],
            batch_seconds=[*self.batch_seconds, round(batch.seconds, 6)],
            decode_seconds=round(self.decode_seconds + batch.decode_seconds, 6),
            evaluations=batch.evaluations,
        )


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, and how they came about."""

    pixels: Bytes  # (N, C, H, W) uint8, memory-mapped
    labels: Labels  # (N,)
    facts: SamplingFacts
    files: tuple[Path, Path]

    def batches(self, size: int) -> Iterator[Bytes]:
        """The images in batches (n, C, H, W), copied out of the file."""
        return _batches(self.pixels, size)

    def discard(self) -> None:
        """Remove the files: what is measured can be sampled again."""
        for path in self.files:
            path.unlink(missing_ok=True)


def draw(
    config: RunConfig,
    parts: Parts,
    denoiser: nn.Module,
    weights: Literal["ema", "raw"],
    directory: Path,
    watch: Watch,
    stem: str = "samples",
) -> Samples:
    """The track's samples, into files of the directory, going on where a call with the same weights was stopped.

    Raises `Interrupted` between batches, and `Diverged` if an image is infinite or NaN.
    """
    choice = config.track.evaluation
    count = choice.samples if parts.scoring else min(choice.samples, config.track.sampler.batch_size)  # to be timed
    images, progress = directory / f"{stem}.partial.npy", directory / f"{stem}.partial.json"
    channels, height, width = parts.image_shape
    done = _read(progress, images, _fingerprint(denoiser))
    begun = sum(done.batch_images)
    file = np.lib.format.open_memmap(
        images, "r+" if begun else "w+", dtype=np.uint8, shape=(count, height, width, channels)
    )
    for batch in batches(config, parts, denoiser, range(begun, count)):
        watch.check()
        file[begun : begun + len(batch.labels)] = batch.pixels.transpose(0, 2, 3, 1)
        file.flush()
        done, begun = done.and_also(batch), begun + len(batch.labels)
        write_text(progress, done.model_dump_json())
        rate = len(batch.labels) / (batch.seconds + batch.decode_seconds)
        watch.report(Progress("sample", begun / count, begun, rate, seconds_left=(count - begun) / rate))
    pixels: Bytes = file.transpose(0, 3, 1, 2)
    labels = sampling.labels_of(_plan(config, parts), np.arange(count), parts.spec.classes)
    facts = SamplingFacts(
        sampler=parts.sampler.name,
        steps=config.track.sampler.steps,
        evaluations=done.evaluations,
        weights=weights,
        labels_sha256=sampling.labels_sha256(labels),
        images_sha256=_sha256(pixels),
        batch_images=done.batch_images,
        batch_seconds=done.batch_seconds,
        images_per_second=sampling_rate(done.batch_images, done.batch_seconds),
        decode_seconds=done.decode_seconds,
    )
    return Samples(pixels, labels, facts, (images, progress))


def batches(config: RunConfig, parts: Parts, denoiser: nn.Module, indices: range) -> Iterator[sampling.Batch]:
    """The track's samples of these numbers, batch by batch; the autoencoder is on the device as long as that takes."""
    batch_size, coder = config.track.sampler.batch_size, parts.autoencoder
    try:
        if coder:
            coder.network.to(parts.device)
        yield from sampling.generate(denoiser, parts.spec, _plan(config, parts), indices, batch_size, parts.device)
    finally:
        if coder:
            coder.network.to("cpu")


def _plan(config: RunConfig, parts: Parts) -> sampling.Plan:
    choice = config.track.sampler
    return sampling.Plan(
        sample=parts.sample,
        objective=parts.objective,
        steps=choice.steps,
        seed=config.seed,
        guidance=choice.guidance,
        labels=config.track.evaluation.labels,
        decode=parts.decode,
        precision=precision.resolve(config.recipe.precision, parts.device),
    )


def _read(progress: Path, images: Path, weights: str) -> _Done:
    """What an interrupted call left of the same weights; else nothing."""
    try:
        done = _Done.model_validate_json(progress.read_bytes())
    except (OSError, pydantic.ValidationError):
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
