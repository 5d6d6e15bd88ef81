"""A checkpoint of an architecture as a set of images, sampled as a track says while they are scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import bench
from .errors import BadValue
from .image_sets import ImageSet
from .images import Bytes
from .plan import make_plan
from .registry import Registry
from .storage import sha256_of


def open_checkpoint(
    weights: Path,
    architecture: str,
    track: str,
    registry: Registry,
    samples: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> tuple[ImageSet, dict[str, Any]]:
    """The images that weights of ours make, and how they come about, for the record.

    `architecture` is ``name[:size][+option=value]...``; `samples` replaces the track's number. Raises `DitbenchError`
    if the weights are not of that architecture, or if the track's denoisers make no pixels.
    """
    (config,) = make_plan(registry, track, [architecture], [seed], None, device)
    if samples is not None:
        config = config.with_samples(samples)
    parts = bench.resolve(config, registry)
    if parts.spec.space != "pixel":
        raise BadValue(f"Track {track!r} works on latents; only checkpoints that make pixels can be evaluated.")
    denoiser = bench.load_denoiser(config, parts, weights)
    content = sha256_of(weights)

    def batches(size: int) -> Iterator[Bytes]:
        return (batch.pixels for batch in bench.sample_batches(config, parts, denoiser))

    how: dict[str, Any] = {
        "architecture": config.label,
        "settings": config.settings,
        "source_sha256": config.source_sha256,
        "weights_sha256": content,
        "track": config.track.name,
        "track_hash": config.track.hash,
        "objective": config.track.objective.model_dump(mode="json"),
        "sampler": config.track.sampler.model_dump(mode="json"),
        "seed": config.seed,
    }
    shape = (parts.spec.channels, parts.spec.resolution, parts.spec.resolution)
    return ImageSet(weights.name, config.track.evaluation.samples, shape, batches, lambda: content), how
