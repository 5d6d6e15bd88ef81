"""A checkpoint of an architecture as a set of images, sampled as a track says while they are scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ..datasets.image_sets import ImageSet
from ..datasets.pixels import Bytes
from ..errors import BadFile, BadValue
from ..metrics.reference import ReferenceSource
from ..registry import Registry
from ..runtime.progress import Diverged
from ..sampling.samples import batches
from ..storage.files import sha256_of
from ..tracks.config import RunConfig
from ..tracks.options import RunOptions, takes
from ..tracks.plan import make_plan
from .setup import drawing_of, load_denoiser, resolve


class Checkpoint(NamedTuple):
    """The images that weights make, how they come about, and what their track compares them with."""

    images: ImageSet
    how: dict[str, Any]  # for the record
    reference: ReferenceSource | str


@takes(RunOptions)
def open_checkpoint(
    weights: Path, architecture: str, track: str, registry: Registry, seed: int = 0, **options: Unpack[RunOptions]
) -> Checkpoint:
    """Weights of ours as a set of images, sampled when they are read.

    `architecture` is ``name[:size][+option=value]...``; `seed` and the option `samples` are of the images, the other
    options are those of the run that made the weights. Raises `DitbenchError` if the weights are of another one.
    """
    (config,) = make_plan(registry, track, [architecture], [seed], **options)
    parts = resolve(config, registry)
    if parts.scoring is None:
        raise BadValue(f"Nothing can be said of the quality of samples on {parts.data.name!r}.")
    content, drawing = sha256_of(weights), drawing_of(config, parts)
    denoiser = load_denoiser(config, parts, weights)

    def pixels(size: int) -> Iterator[Bytes]:
        try:
            for batch in batches(drawing, denoiser, range(drawing.count)):
                yield batch.pixels
        except Diverged as error:
            raise BadFile(f"The weights {str(weights)!r} give no images: {error}.") from None

    images = ImageSet(weights.name, drawing.count, parts.image_shape, pixels, lambda: content)
    return Checkpoint(images, _how(config, content), parts.scoring.source)


def _how(config: RunConfig, weights_sha256: str) -> dict[str, Any]:
    return {
        "architecture": config.label,
        "settings": config.settings,
        "source_sha256": config.source_sha256,
        "weights_sha256": weights_sha256,
        "track": config.track.name,
        "track_hash": config.track.hash,
        "objective": config.objective.model_dump(mode="json"),
        "sampler": config.track.sampler.model_dump(mode="json"),
        "seed": config.seed,
    }
