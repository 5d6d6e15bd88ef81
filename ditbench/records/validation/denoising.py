"""The denoising error's curves, and that the metrics which see the denoiser follow from them."""

from __future__ import annotations

from collections.abc import Sequence

from ..denoising import LOG_SNRS, POINTS, WEIGHTS, Denoising, ErrorCurve
from ..facts import Measurement
from ..metric_constants import JACKKNIFE_PARTS
from ..record import Record
from .faults import Faults, differs, shown
from .known import Known

_CURVES = [("ema", "held-out"), ("ema", "training"), ("raw", "held-out"), ("raw", "training")]


def denoising_of(record: Record, known: Known) -> Faults:
    """The curves are there if the track asks for them, all of them, and those of the EMA give the metrics."""
    metrics = [metric for name, _ in record.track.evaluation.choices if (metric := known.metric(name))]
    asked = any(metric.sees == "denoiser" for metric in metrics)
    if record.denoising is None:
        if asked and record.metrics and record.status == "finished":
            yield "denoising is none, should be what the metrics that see the denoiser follow from"
        return
    if not asked and len(metrics) == len(record.track.evaluation.choices):
        yield "denoising is there, should not be: no metric of the track sees the denoiser"
    yield from _curves(record.denoising, record.track.evaluation.denoised)
    yield from _points(record.denoising, record.track.evaluation.denoised_on_the_way)
    for i, one in enumerate(record.metrics):
        if one.metric in WEIGHTS:
            yield from _terms(f"metrics.{i}", one, record.denoising.curves[0])


def lengths(field: str, one: Measurement) -> Faults:
    """A term for each level of noise, and the jackknife; none of them can be negative."""
    found = {kind: len(numbers) for kind, numbers in one.raw.items()}
    yield from differs(f"{field}.raw", found, {"terms": len(LOG_SNRS), "jackknife": JACKKNIFE_PARTS}, "how many")
    for kind, numbers in one.raw.items():
        yield from _none_below_0(f"{field}.raw.{kind}", numbers)


def _curves(found: Denoising, asked: int) -> Faults:
    told = [(curve.weights, curve.images) for curve in found.curves]
    yield from differs("the denoising.curves", told, _CURVES, "which weights, and which images")
    if not 0 < found.images <= asked:
        yield f"denoising.images is {found.images}, should be from 1 to the track's {asked}"
    for i, curve in enumerate(found.curves):
        yield from _none_below_0(f"denoising.curves.{i}.errors", curve.errors)
        yield from _none_below_0(f"denoising.curves.{i}.standard_errors", curve.standard_errors)


def _points(found: Denoising, asked: int) -> Faults:
    """On the way, each at one of the shares; those that a resumed run has passed may be missing."""
    shares = [point.at for point in found.points]
    if not set(shares) <= set(POINTS) or shares != sorted(set(shares)):
        yield f"the shares of denoising.points are {shown(shares)}, should be some of {shown(list(POINTS))}, in order"
    if found.points:
        yield from differs("denoising.points_images", found.points_images, min(asked, found.images), "the track's")
    for i, point in enumerate(found.points):
        yield from _none_below_0(f"denoising.points.{i}.errors", point.errors)


def _terms(field: str, one: Measurement, curve: ErrorCurve) -> Faults:
    """What each level counts in the number that the metric is."""
    weigh = WEIGHTS[one.metric]
    for i, (term, error, log_snr) in enumerate(zip(one.raw.get("terms", ()), curve.errors, LOG_SNRS, strict=False)):
        yield from differs(f"{field}.raw.terms.{i}", term, weigh(log_snr) * error, "by denoising.curves.0.errors")


def _none_below_0(field: str, numbers: Sequence[float]) -> Faults:
    for i, number in enumerate(numbers):
        if number < 0:
            yield f"{field}.{i} is {number}, should not be below 0: it is a square"
