"""Answers of `diff`, of `records` and of `leaderboard`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, JsonValue

from ...records.verification import Verification
from . import Answer
from .boards import BoardAnswer


class FieldDifference(Answer):
    """A field in which two records differ."""

    field: str
    one: JsonValue
    other: JsonValue


class LevelMean(Answer):
    """An error at a level of noise, over seeds."""

    mean: float
    half_width: float | None
    """Of the 95 % interval."""
    values: list[float]


class LevelComparison(Answer):
    """Two networks at a level of noise."""

    log_snr: float
    one: LevelMean
    other: LevelMean
    ratio: float | None
    p: float
    better: int | None
    """0: the first, 1: the other. null: they can't be told apart."""


class DenoisingComparison(Answer):
    """Where which of two networks denoises better."""

    levels: list[LevelComparison]
    seeds: list[int]
    images: int
    words: str


class DiffAnswer(Answer):
    """What two records did not do alike, most suspicious first."""

    differences: list[FieldDifference]
    denoising: DenoisingComparison | None


class CheckedRecord(Answer):
    """A file that was checked."""

    file: str
    kind: str
    faults: list[str]
    unchecked: list[str]
    """What could not be computed again here."""


CheckedRecords = list[CheckedRecord]


class SubmittedRecords(Answer):
    """Records, or profiles, that are put forward."""

    files: list[str]
    """In the leaderboard's folder."""
    warnings: list[str]
    """What a reviewer will ask."""
    next: list[str]
    """Commands, in their order."""


class VerifyAnswer(Answer):
    """Whether a record holds, as somebody else found."""

    file: str
    """What was written."""
    submitted: bool
    """Whether the record is; else this will be of no record once it is."""
    verification: Verification


Schema = Annotated[dict[str, Any], Field(description="A JSON Schema.")]


class BuiltLeaderboard(Answer):
    """The leaderboard's files."""

    records: int
    boards: list[BoardAnswer]
    out: str
    site: str | None
    """Its first page. null: with --check."""
    stale: list[str]
    """With --check: what is not current; else empty."""


class ReportedChange(Answer):
    """What a change of records does."""

    base: str | None
    markdown: str
    """The report."""
    records: int
    boards: list[BoardAnswer]
    """As they are after it."""


class ExportedTables(Answer):
    """The leaderboard as tables."""

    files: list[str]
    records: int
    rows: int
    """Of boards."""


class ArchiveFacts(Answer):
    """The leaderboard as one file."""

    archive: str
    records: int
    boards: list[str]
    """By their slugs."""
    files: int
    bytes: int
    bytes_unpacked: int


class ImportedResults(Answer):
    """Another harness's results as published numbers."""

    file: str
    """Of published numbers."""
    numbers: int
    unknown: list[str]
    """Rows that no name here can be of."""
    left_out: list[str]
    """What is no metric here."""


class RankCorrelation(Answer):
    """Whether two boards, or metrics, rank alike."""

    boards: list[str]
    metrics: list[str]
    architectures: list[str]
    kendall_tau: float
    interval: list[float]
    pairs_told_apart_by_both: int
    of_these_in_the_same_order: int


TransferAnswer = dict[str, list[RankCorrelation]]  # by question
