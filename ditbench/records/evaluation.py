"""The record of `ditbench evaluate`: images that anybody generated, scored."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..storage.files import write_text
from ..storage.schema import Count, Frozen, Name, Number, Sha256, Shape, Words, digest
from .facts import Environment, Measurement, PeakMemory
from .files import EVALUATION_SUFFIX


class ImageFacts(Frozen):
    """A set of images that was scored, or scored against."""

    name: str  # of the file, folder, data set or weights, without the way to it
    kind: Literal["images", "moments", "generated"]
    sha256: Sha256 | None  # of the files or pixels; None: generated and not kept
    count: Count | None  # None: a file of moments that does not tell
    shape: Shape | None  # (C, H, W), of clips (F, C, H, W)
    jpeg: bool = False  # compressed with loss, and scored all the same because that was asked for


class Evaluation(Frozen):
    """Samples scored by `ditbench evaluate`, whoever made them."""

    schema_version: Literal[1] = 1
    created: datetime
    samples: ImageFacts
    reference: ImageFacts
    extractor: Name
    extractor_sha256: Sha256
    resize: str  # how the extractor brought the images to its size
    generated: dict[str, Any] = {}  # of a checkpoint: how its images came about
    environment: Environment
    device: Words
    seconds: dict[str, Number]  # of the parts: reference, samples, metrics
    peak: PeakMemory
    bytes_per_image: Count  # what is kept of each image
    metrics: Annotated[list[Measurement], Field(min_length=1)]
    left_out: list[str] = []  # metrics that could not be measured, and why
    floors: list[Measurement] = []


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write it atomically, under a name that says what was scored with what."""
    stem = "".join(c if c.isalnum() or c in "._=" else "-" for c in evaluation.samples.name)[:80]
    content = evaluation.model_dump(mode="json", exclude={"created", "seconds", "peak"})
    path = folder / f"{stem}-{evaluation.extractor}-{digest(content, 8)}{EVALUATION_SUFFIX}"
    write_text(path, evaluation.model_dump_json(indent=1) + "\n")
    return path
