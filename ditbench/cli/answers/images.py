"""Answers of `data prepare`, `floor`, `stats` and `verify`, of `evaluate`, `bridge`, `fetch`, `import` and `export`."""

from __future__ import annotations

from typing import Any

from ...records.evaluation import Evaluation, ImageFacts
from ...records.facts import Measurement, Reconstruction
from ...records.guidance import GuidanceCurve
from . import Answer


class ShardFacts(Answer):
    """A file of prepared data."""

    count: int
    bytes: int
    sha256: str


class SkippedFile(Answer):
    """What could not be read."""

    index: int
    file: str


class DataFacts(Answer):
    """Prepared data, with all of its manifest.json."""

    sha256: str
    """Of what the rows are of."""
    kind: str
    """pixels or latents."""
    bytes_per_image: int
    plan: dict[str, Any]
    """What it was made of."""
    count: int
    """Of examples."""
    shards: list[ShardFacts]
    skipped: list[SkippedFile]
    source_sha256: str
    mean: list[float]
    """Per channel."""
    std: list[float]
    reconstruction: list[Reconstruction] = []
    """How close held-out images and their decoded latents are, where that was measured."""
    ditbench: str


class PreparedData(Answer):
    """Data that was prepared."""

    folder: str
    manifest: str
    """The file, which has all else."""
    sha256: str
    kind: str
    count: int
    shards: int
    bytes: int
    skipped: list[str]
    """Files that could not be read."""
    mean: list[float]
    std: list[float]


class DataFloors(Answer):
    """Latents, and how close what is decoded of them can be to images."""

    folder: str
    reconstruction: list[Reconstruction]


class VerifiedData(Answer):
    """Prepared data that was read through, and compared with what it was made of."""

    folder: str
    sha256: str
    shards: int
    compared: str
    """What was found, as a sentence."""


EvaluateAnswer = Evaluation | GuidanceCurve


class ReferenceScores(Answer):
    """The samples against one reference."""

    reference: ImageFacts
    metrics: list[Measurement]
    left_out: list[str]
    """Metrics that this reference can't give, and why."""


class BridgeAnswer(Answer):
    """One set of samples against several references."""

    samples: ImageFacts
    extractor: str
    extractor_sha256: str
    resize: str
    """How the extractor brought the images to its size."""
    device: str
    references: list[ReferenceScores]


class FetchedWeights(Answer):
    """An extractor's weights, which are here and have the pinned hash."""

    extractor: str
    file: str
    sha256: str


Fetched = list[FetchedWeights]


class ImportedWeights(Answer):
    """A published checkpoint as weights of ours."""

    architecture: str
    weights: str
    """ema, raw or unstated."""
    parameters: int
    file: str


class Exported(Answer):
    """A run, or weights, for those who have no ditbench."""

    of: str
    """What was exported, in words."""
    to: str
    folder: str
