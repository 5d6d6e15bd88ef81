"""Guidance as a curve: one run's weights sampled at a grid of scales, measured at each, and no point preferred.

A curve is a file beside its record, sealed like one. It is of the run's weights, by their sha256, so that the record
may be submitted afterwards. Nothing ranks by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from ..errors import BadFile, BadValue
from ..storage.files import exists, write_text
from ..storage.schema import Frozen, Hash, Name, Sha256, Words, read_checked
from ..tracks.guidance import Guidance
from ..tracks.track import DISTANCES, EvaluationChoice, Track, distances
from .facts import Environment, Measurement, SamplingFacts
from .files import GUIDANCE_SUFFIX, WEIGHTS_FILE, json_files
from .record import Record, seal

MOST = 50  # points of a curve
LARGEST = 1000.0  # scale
ALWAYS = ("recall", "precision")  # what a curve is drawn of, beside a Fréchet distance
_WEIGHED = "u + w(c - u)"


class GuidancePoint(Frozen):
    """What one scale gave."""

    guidance: Guidance
    created: datetime
    environment: Environment
    device: Words
    sampling: SamplingFacts
    metrics: Annotated[list[Measurement], Field(min_length=1)]

    @property
    def scale(self) -> float:
        """w of u + w(c - u): 1 is no guidance."""
        return self.guidance.scale

    @property
    def protocols(self) -> list[str]:
        """The full names of what was measured."""
        return [one.protocol for one in self.metrics]

    def value_of(self, protocol: str) -> float:
        """That of the measurement of this name."""
        return next(one.value for one in self.metrics if one.protocol == protocol)

    @property
    def alike(self) -> tuple[object, ...]:
        """What all points of a curve share."""
        of = self.sampling
        same = self.guidance.model_copy(update={"scale": 1.0})
        return same, self.protocols, of.sampler, of.steps, of.weights, of.labels_sha256


class GuidanceCurve(Frozen):
    """The points that were measured so far, by scale."""

    schema_version: Literal[1] = 1
    sha256: Sha256 | None = None  # of all else as JSON; set when it is written
    run_id: Name
    run_hash: Hash
    weights_sha256: Sha256
    points: Annotated[list[GuidancePoint], Field(max_length=MOST)] = []

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> GuidanceCurve:
        for one, other in pairwise(self.points):
            if one.scale >= other.scale:
                raise ValueError(f"the scales {one.scale:g} and {other.scale:g} are not in ascending order")
            if one.alike != other.alike:
                raise ValueError(f"the points at {one.scale:g} and {other.scale:g} differ in more than the scale")
        if any(point.guidance.formula != _WEIGHED for point in self.points):
            raise ValueError(f"scales are w of {_WEIGHED}")
        return self

    @property
    def scales(self) -> list[float]:
        """Of its points."""
        return [point.scale for point in self.points]

    def at(self, scale: float) -> GuidancePoint | None:
        """The point of a scale, if it was measured."""
        return next((point for point in self.points if point.scale == scale), None)

    def and_also(self, point: GuidancePoint) -> GuidanceCurve:
        """With one more point, in place of an earlier one of its scale. `BadFile` if it does not fit the others."""
        others = [one for one in self.points if one.scale != point.scale]
        if any(one.alike != point.alike for one in others):
            raise BadFile(
                f"The points of {self.run_id} that are there were measured otherwise than is done now. Remove "
                f"{file_name(self.run_id)!r} to measure them all again."
            )
        points = sorted([*others, point], key=lambda one: one.scale)
        return self.model_copy(update={"points": points, "sha256": None})


def check_scales(scales: Sequence[float]) -> None:
    """`BadValue` if they are no grid: numbers from 0 on, ascending, and not too many."""
    told = f"`guidance` {','.join(f'{scale:g}' for scale in scales)[:100]!r}"
    if not scales or not all(0 <= scale <= LARGEST for scale in scales):  # NaN is neither
        raise BadValue(f"{told}: scales are numbers from 0 to {LARGEST:g}, and there is one at least.")
    if any(one >= other for one, other in pairwise(scales)):
        raise BadValue(f"{told}: give each scale once, in ascending order.")
    check_count(scales)


def check_count(scales: Iterable[float]) -> None:
    """`BadValue` if a curve would have too many points."""
    if (count := len(set(scales))) > MOST:
        raise BadValue(f"`guidance`: {count} scales are too many for a curve, which has {MOST} at most.")


def check_guidable(record: Record) -> None:
    """`DitbenchError` if a run's weights can't be guided, or if nothing was measured of them."""
    if record.status != "finished" or not record.metrics:
        raise BadFile(f"{record.run_id} has no numbers that guidance could change: it is {record.status}.")
    if WEIGHTS_FILE not in record.files:
        raise BadFile(f"The record of {record.run_id} has no sha256 of {WEIGHTS_FILE}, so no weights are known as its.")
    if record.data is None or not record.data.classes:
        raise BadValue(f"{record.run_id} has data without classes; guidance needs labels.")
    if not record.recipe.label_dropout:
        raise BadValue(
            f"{record.run_id} never saw the null label (its recipe has label_dropout = 0), so there is nothing to "
            "guide away from. Train with a label_dropout such as 0.1."
        )


def with_axes(metrics: Sequence[str], frames: int = 1) -> list[str]:
    """Metrics as a track names them, and those that a curve is drawn of, of samples of so many frames."""
    names = [metric.partition("/")[0] for metric in metrics]
    distance = () if set(names) & set(DISTANCES) else distances(frames)[:1]
    return [*metrics, *(name for name in (*distance, *ALWAYS) if name not in names)]


def guided(track: Track, scale: float, metrics: Sequence[str]) -> Track:
    """The track with another scale, w, and these metrics; schedule and channels of guidance stay its own."""
    own = track.sampler.guidance or Guidance(scale=1.0)
    guidance = own.model_copy(update={"scale": float(scale), "formula": _WEIGHED})
    sampler = track.sampler.model_copy(update={"guidance": guidance})
    evaluation = EvaluationChoice.model_validate({**track.evaluation.model_dump(), "metrics": tuple(metrics)})
    return track.model_copy(update={"sampler": sampler, "evaluation": evaluation})


def new_curve(record: Record) -> GuidanceCurve:
    """One without points."""
    return GuidanceCurve(run_id=record.run_id, run_hash=record.run_hash, weights_sha256=record.files[WEIGHTS_FILE])


def is_of(curve: GuidanceCurve, record: Record) -> bool:
    """Whether it is of this run's weights as they are."""
    named = (curve.run_id, curve.run_hash) == (record.run_id, record.run_hash)
    return named and curve.weights_sha256 == record.files.get(WEIGHTS_FILE)


def file_name(run_id: str) -> str:
    """A curve's file beside the record."""
    return f"{run_id}{GUIDANCE_SUFFIX}"


def curve_beside(record: Record, folder: Path) -> GuidanceCurve:
    """What was measured so far of a record's weights; of none, or of others, nothing. `BadFile` if it is wrong."""
    path = folder / file_name(record.run_id)
    found = read_curve(path) if exists(path) else new_curve(record)
    return found if is_of(found, record) else new_curve(record)


def read_curve(path: Path) -> GuidanceCurve:
    """Read and check one; `BadFile` names the file and the field."""
    return read_checked(GuidanceCurve, path, kind="guidance curve")


def read_curves(folder: Path) -> list[GuidanceCurve]:
    """All below a folder; `BadFile` names the first that is wrong."""
    return [read_curve(path) for path in json_files(folder) if path.name.endswith(GUIDANCE_SUFFIX)]


def write_curve(curve: GuidanceCurve, folder: Path) -> Path:
    """Write it atomically and sealed beside its record."""
    path = folder / file_name(curve.run_id)
    sealed = curve.model_copy(update={"sha256": seal(curve.model_dump(mode="json"))})
    write_text(path, sealed.model_dump_json(indent=1) + "\n")
    return path
