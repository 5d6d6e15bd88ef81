"""Scores images, whoever generated them, against real ones."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..components import Extractor, Metric, Output, load
from ..datasets.examples import Data, Request
from ..datasets.image_sets import ImageSet
from ..datasets.pixels import Bytes
from ..errors import BadFile, BadValue
from ..metrics.features import BATCH_SIZE, Clips, Features, check_shape, extract, load_extractor
from ..metrics.quality import floors, measure_all, outputs_for
from ..metrics.reference import Reference, ReferenceSource, open_source, source_of
from ..records.evaluation import Evaluation, ImageFacts
from ..records.facts import Measurement
from ..records.metric_constants import FLOOR_SPLITS
from ..registry import Registry, pick
from ..runtime.environment import describe, find_device
from ..runtime.memory import capacity, peak_memory, reset_peak
from ..runtime.precision import Precision
from ..storage.files import exists

_LARGEST_BATCH = 2**28  # bytes of its pixels; there are some copies of them, and a part as floats
_FLOAT = 4  # bytes
MINIMUM = 20  # images, of either side, below which no metric means anything
StageCallback = Callable[[str, int, int], None]  # stage, images done, images in all


@dataclass(frozen=True)
class EvaluationRequest:
    """What to score, against what, and how."""

    samples: ImageSet
    reference: str | ReferenceSource  # a folder, an .npz, a data set's name; or what a checkpoint's track has
    extractor: Extractor
    metrics: tuple[Metric, ...]  # empty: the extractor's own, as far as the reference allows
    device: str = "auto"
    weights: Path | None = None  # of the extractor
    generated: Mapping[str, Any] = field(default_factory=dict)  # how samples that are no files come about
    floors: bool = True
    allow_jpeg: bool = False
    batch_size: int = BATCH_SIZE
    offline: bool = False  # fetch no data set
    precision: Precision = "float32"  # of the extractor; what a checkpoint's track has, as its device has it
    interval: int = 1  # of clips: frames of their source from one to the next

    def clips(self, split: str = "") -> Clips | None:
        """What is told of the samples if they are clips, and of real ones, with their split; None of images."""
        *frames, _, _, _ = self.samples.shape
        return Clips(frames[0], self.interval, split) if frames else None


def evaluate(request: EvaluationRequest, registry: Registry, report: StageCallback = lambda *_: None) -> Evaluation:
    """Score samples against real images, or against moments from a file.

    What is wrong with names, files and headers is found before anything is computed; raises `DitbenchError`.
    Images are streamed: what stays of each is its features.
    """
    (found,) = evaluate_against([request.reference], request, registry, report)
    return found


def evaluate_against(
    references: Sequence[str | ReferenceSource],
    request: EvaluationRequest,
    registry: Registry,
    report: StageCallback = lambda *_: None,
) -> list[Evaluation]:
    """The same against each of several references; the features of the samples are computed once."""
    device, request = find_device(request.device), replace(request, batch_size=_batch_size(request))
    sources = [_open_reference(replace(request, reference=reference), registry) for reference in references]
    for source in sources:
        _check(request, source)
    capacity(device)  # tells what is wrong with it
    network = load_extractor(request.extractor, request.weights, device)
    widths = _widths(network, request.samples, device)
    for source in sources:
        source.check_widths(widths, request.extractor.name)
    sides = [_Side(source, *_choose(request, registry, source)) for source in sources]
    together = list({metric.name: metric for side in sides for metric in side.metrics}.values())
    _check_features(request.samples, sum(widths[name] for name in outputs_for(together)))

    reset_peak(device)
    real = [_read(request, side, network, device, report, named=len(sides) > 1) for side in sides]
    began = time.perf_counter()
    fake, content = _extract(request, network, together, device, report)
    seen = _Seen(fake, content, device, time.perf_counter() - began)
    return [_score(request, side, *of, seen, report) for side, of in zip(sides, real, strict=True)]


class _Side(NamedTuple):
    """A reference, what is measured against it, and why other metrics are not."""

    source: ReferenceSource
    metrics: list[Metric]
    left_out: list[str]


class _Seen(NamedTuple):
    """The samples as the extractor sees them."""

    features: Features
    sha256: str  # of their pixels
    device: torch.device
    seconds: float


def _read(
    request: EvaluationRequest,
    side: _Side,
    network: nn.Module,
    device: torch.device,
    report: StageCallback,
    named: bool,
) -> tuple[Reference, float]:
    """A reference's features, and the seconds that these took."""
    began, images = time.perf_counter(), side.source.images
    stage = f"reference {side.source.name}" if named else "reference"
    how = (device, request.batch_size, partial(_tell_reference, report, stage, images.count if images else 0))
    found = side.source.read(request.extractor, network, side.metrics, *how, request.precision)
    return found, time.perf_counter() - began


def _score(
    request: EvaluationRequest, side: _Side, reference: Reference, read: float, seen: _Seen, report: StageCallback
) -> Evaluation:
    """What the samples score against a reference, which took `read` seconds."""
    began, source = time.perf_counter(), side.source
    found, by_chance = _measure(request, side.metrics, seen.features, reference, source, report)
    seconds = {"reference": read, "samples": seen.seconds, "metrics": time.perf_counter() - began}
    return Evaluation(
        created=datetime.now(UTC).replace(microsecond=0),
        samples=_facts(request.samples, seen.sha256, "generated" if request.generated else "images"),
        reference=_facts(source.images, reference.sha256) if source.images else _moment_facts(source, reference),
        extractor=request.extractor.name,
        extractor_sha256=request.extractor.weights.sha256,
        resize=request.extractor.resize or "none",
        generated=dict(request.generated),
        environment=describe(seen.device),
        device=str(seen.device),
        seconds={part: round(value, 3) for part, value in seconds.items()},
        peak=peak_memory(seen.device),
        bytes_per_image=sum(_FLOAT * output[0].numel() for output in seen.features.outputs.values()),
        metrics=found,
        left_out=side.left_out,
        floors=by_chance,
    )


def _tell_reference(report: StageCallback, stage: str, size: int, done: int) -> None:
    report(stage, done, size)


def _open_reference(request: EvaluationRequest, registry: Registry) -> ReferenceSource:
    """A data set of that name, or else the file or folder: `./digits` is a folder whatever data sets there are."""
    if isinstance(request.reference, ReferenceSource):
        return request.reference
    if request.reference not in registry.datasets and exists(Path(request.reference)):
        return open_source(Path(request.reference))
    dataset = pick("file, folder or data set", request.reference, registry.datasets)
    side, clips = request.samples.shape[-1], request.clips()
    asked = Request(resolution=side, offline=request.offline)
    if clips is not None:
        asked = replace(asked, frames=clips.frames, interval=clips.interval)
    try:
        data: Data = load(dataset.load)(asked)
    except BadValue as error:
        told = f"The reference {request.reference!r} does not fit samples of {side} x {side} pixels"
        raise BadValue(f"{told}: {error} Bring them to one size, or name another reference.") from None
    if data.images is None:
        raise BadValue(f"The data set {request.reference!r} has no real images to compare with.")
    return source_of(data.images, "training")


def _check(request: EvaluationRequest, source: ReferenceSource) -> None:
    """What the headers tell: shapes that fit, enough images, no JPEGs."""
    images = request.samples
    check_shape(request.extractor, images.shape)
    for some in (images, source.images):
        if some is not None and some.count < MINIMUM:
            raise BadFile(f"{some.name!r} holds {some.count} images; metrics need at least {MINIMUM}.")
    if images.lossy and not request.allow_jpeg:
        raise BadFile(
            f"{images.lossy!r} was compressed with loss, which metrics notice more than models' differences. Give PNGs "
            "or an .npz, or score it all the same, and marked, with `allow_jpeg`."
        )
    source.check_shape(images.shape)


def _batch_size(request: EvaluationRequest) -> int:
    """Images in a batch: fewer than asked where so many, which a small .npz may unpack to, would fill the memory."""
    return max(1, min(request.batch_size, _LARGEST_BATCH // math.prod(request.samples.shape)))


def _check_features(images: ImageSet, width: int) -> None:
    """`BadFile` if there are so many images that this machine can't hold what is kept of them."""
    needed, memory = _FLOAT * width * images.count, capacity(torch.device("cpu"))
    if needed > memory:
        raise BadFile(
            f"{images.name!r} holds {images.count:,} images, whose features take {needed / 2**30:,.1f} GiB, and this "
            f"machine has {memory / 2**30:,.1f} GiB; give at most {memory // (_FLOAT * width):,}."
        )


def _choose(request: EvaluationRequest, registry: Registry, source: ReferenceSource) -> tuple[list[Metric], list[str]]:
    """The metrics to measure, and why the others can't be. What was asked for by name must be possible."""
    asked = request.metrics or tuple(pick("metric", name, registry.metrics) for name in request.extractor.metrics)
    if len(set(asked)) < len(asked):
        raise BadValue(f"A metric stands twice: {', '.join(metric.name for metric in asked)}.")
    for metric in asked:
        metric.check_fits(request.extractor, 1 if (clips := request.clips()) is None else clips.frames)
        if metric.sees == "pixels" and metric.against == "nothing":
            raise BadValue(f"Metric {metric.name!r} looks at pixels, of which nothing is kept here: only runs do.")
        if metric.sees == "pixels":
            raise BadValue(f"Metric {metric.name!r} needs labels, which files of images do not have.")
        if metric.against == "held-out":
            raise BadValue(f"Metric {metric.name!r} needs to know which real images were trained on: only runs do.")
        if metric.sees == "distances":
            raise BadValue(f"Metric {metric.name!r} is of several extractors, and this is done with one: only runs do.")
        if metric.sees == "denoiser":
            raise BadValue(f"Metric {metric.name!r} is measured of a run's network, and files of images have none.")
    reasons = {metric.name: source.impossible(metric) for metric in asked}
    left_out = [reason for reason in reasons.values() if reason]
    if request.metrics and left_out:
        raise BadValue(f"{left_out[0]}.")
    chosen = [metric for metric in asked if not reasons[metric.name]]
    for metric in chosen:
        load(metric.measure)
    return chosen, left_out


def _widths(network: nn.Module, images: ImageSet, device: torch.device) -> dict[Output, int]:
    """How wide the extractor's outputs are, by asking it."""
    black = torch.zeros(2, *images.shape, dtype=torch.uint8, device=device)
    with torch.inference_mode():
        return {name: output.shape[-1] for name, output in network(black).items()}


def _extract(
    request: EvaluationRequest, network: nn.Module, metrics: list[Metric], device: torch.device, report: StageCallback
) -> tuple[Features, str]:
    """The samples' features, and the sha256 of their pixels (N, C, H, W)."""
    content = hashlib.sha256()

    def hashed() -> Iterator[Bytes]:
        for batch in request.samples.batches(request.batch_size):
            content.update(np.ascontiguousarray(batch).tobytes())
            yield batch

    def done(count: int) -> None:
        report("samples", count, request.samples.count)

    found = extract(network, hashed(), outputs_for(metrics), None, device, done, precision=request.precision)
    found = replace(found, clips=request.clips())
    return found, content.hexdigest()


def _measure(
    request: EvaluationRequest,
    metrics: list[Metric],
    fake: Features,
    reference: Reference,
    source: ReferenceSource,
    report: StageCallback,
) -> tuple[list[Measurement], list[Measurement]]:
    """The metrics, and what random halves of the real images score, if there are real images."""
    with_floors = request.floors and source.images is not None
    steps, begun = len(metrics) * (1 + FLOOR_SPLITS * with_floors), itertools.count()

    def told(name: str) -> None:
        report("metrics", next(begun), steps)

    marks = "-jpeg" if request.samples.lossy else ""
    real = replace(reference.features, clips=request.clips(source.split))
    found = measure_all(metrics, fake, real, request.extractor, reference.sha256, marks, told)
    by_chance = floors(metrics, real, request.extractor, reference.sha256, told) if with_floors else []
    report("metrics", steps, steps)
    return found, by_chance


def _facts(images: ImageSet, content: str, kind: Any = "images") -> ImageFacts:
    return ImageFacts(
        name=images.name, kind=kind, sha256=content, count=images.count, shape=images.shape, jpeg=bool(images.lossy)
    )


def _moment_facts(source: ReferenceSource, reference: Reference) -> ImageFacts:
    count = max(moments.count for moments in source.moments.values()) or None
    return ImageFacts(name=source.name, kind="moments", sha256=reference.sha256, count=count, shape=None)
