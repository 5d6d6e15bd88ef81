"""A curve of guidance, made again: it is of the record beside it, and each point is the run but for the scale."""

from __future__ import annotations

from ...tracks.track import Track
from ..facts import Measurement
from ..files import WEIGHTS_FILE
from ..guidance import GuidanceCurve, GuidancePoint, guided
from ..metric_constants import RAW_PIXELS
from ..record import Record
from .faults import Faults, differs
from .known import Known
from .plausible import in_time, not_before
from .run import measured_faults


def faults_of_curve(curve: GuidanceCurve, record: Record, known: Known) -> Faults:
    """What does not hold of a curve beside its record."""
    yield from differs("run_id", curve.run_id, record.run_id, "the record's")
    yield from differs("run_hash", curve.run_hash, record.run_hash, "the record's")
    yield from differs("weights_sha256", curve.weights_sha256, record.files.get(WEIGHTS_FILE), "the record's weights")
    for i, point in enumerate(curve.points):
        yield from (f"points.{i}: {fault}" for fault in _point(point, record, known))


def _point(point: GuidancePoint, record: Record, known: Known) -> Faults:
    yield from in_time("created", point.created)
    yield from not_before("created", point.created, record.created)
    track = guided(record.track, point.scale, [_as_asked(one) for one in point.metrics])
    yield from differs("guidance", point.guidance, track.sampler.guidance, "the track's but for the scale")
    yield from measured_faults(_as_run(point, record, track), known)


def _as_asked(one: Measurement) -> str:
    """A metric as a track names it."""
    features = one.protocol.partition("/")[2]
    return one.metric if features == RAW_PIXELS else f"{one.metric}/{features}"


def _as_run(point: GuidancePoint, record: Record, track: Track) -> Record:
    """The run as if it had been guided so, with nothing that a curve does not have."""
    facts = {name: getattr(point, name) for name in ("environment", "device", "sampling", "metrics")}
    nothing: dict[str, object] = {"memory": None, "raw": None, "floors": [], "milestones": [], "denoising": None}
    return record.model_copy(update={**facts, **nothing, "track": track})
