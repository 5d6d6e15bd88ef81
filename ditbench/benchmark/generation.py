"""A checkpoint of an architecture as a set of images, drawn as a track says before they are scored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ..datasets.image_sets import ImageSet, in_memory
from ..errors import BadFile, BadValue
from ..metrics.reference import ReferenceSource
from ..metrics.scoring import Scoring
from ..registry import Registry
from ..runtime.precision import Precision
from ..runtime.progress import Diverged, Watch
from ..sampling.samples import draw, samples_in
from ..storage.files import sha256_of
from ..tracks.config import RunConfig
from ..tracks.options import RunOptions, takes
from ..tracks.plan import make_plan
from .evaluation import StageCallback
from .setup import Parts, drawing_of, load_denoiser, resolve


class Checkpoint(NamedTuple):
    """The images that weights make, how they come about, and what their track compares them with."""

    images: ImageSet
    how: dict[str, Any]  # for the record
    reference: ReferenceSource | str
    precision: Precision = "float32"  # in which their track has features extracted
    interval: int = 1  # of clips


def _here(drawing: Callable[[StageCallback], None]) -> None:
    drawing(lambda *_: None)


@takes(RunOptions)
def open_checkpoint(
    weights: Path,
    architecture: str,
    track: str,
    registry: Registry,
    folder: Path,
    seed: int = 0,
    work: Callable[[Callable[[StageCallback], None]], None] = _here,
    **options: Unpack[RunOptions],
) -> Checkpoint:
    """Weights of ours as a set of images, which are drawn into a folder.

    `architecture` is ``name[:size][+option=value]...``; `seed` and the option `samples` are of the images, the other
    options are those of the run that made the weights. `work` has the drawing done, which the plugin takes part in.
    Raises `DitbenchError` if the weights are of another one.
    """
    (config,) = make_plan(registry, track, [architecture], [seed], **options)
    work(partial(_draw, config, registry, weights, folder))  # before anything is computed here
    parts, scoring = _parts(config, registry)
    content, pixels = sha256_of(weights), samples_in(drawing_of(config, parts), "ema", folder).pixels
    images = in_memory(weights.name, pixels, content)
    return Checkpoint(images, _how(config, content), scoring.source, scoring.precision, scoring.interval)


def _draw(config: RunConfig, registry: Registry, weights: Path, folder: Path, report: StageCallback) -> None:
    parts, _ = _parts(config, registry)
    drawing, denoiser = drawing_of(config, parts), load_denoiser(config, parts, weights)
    watch = Watch(lambda progress: report("drawing", progress.step, drawing.count))
    try:
        draw(drawing, denoiser, folder, watch)
    except Diverged as error:
        raise BadFile(f"The weights {str(weights)!r} give no images: {error}.") from None


def _parts(config: RunConfig, registry: Registry) -> tuple[Parts, Scoring]:
    parts = resolve(config, registry)
    if parts.scoring is None:
        raise BadValue(f"Nothing can be said of the quality of samples on {parts.data.name!r}.")
    return parts, parts.scoring


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
