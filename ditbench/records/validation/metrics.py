"""Measurements made again from their raw numbers: those of a run's record, of its verification, of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from ...components import Metric
from ...tracks.track import panel
from ..denoising import WEIGHTS, protocol_features
from ..derived import RawKey, of_raw
from ..evaluation import Evaluation
from ..facts import Measurement
from ..metric_constants import (
    CALIBRATED_ON,
    FLOOR_SPLITS,
    IS_SPLITS,
    JACKKNIFE_PARTS,
    KEPT,
    KID_SUBSET_SIZE,
    KID_SUBSETS,
    MIN_JACKKNIFED,
    NEIGHBOURS,
    RAW_PIXELS,
    TRACKED,
    protocol,
)
from ..panel import by_extractor, ratios
from ..record import Record
from . import denoising
from .extremes import against_each_other, within_the_head
from .faults import Faults, differs, shown
from .known import Known
from .training import precision_on

ROUNDING = 1e-3  # of a Fréchet distance: of equal sets it is 0 but for roots of covariances without full rank
CONVEX = 0.9  # times its value at least: both estimate covariances, from fewer or more samples


def metrics_of(record: Record, known: Known) -> Faults:
    """All that a run measured: of its last weights, on the way, of the raw weights, and of real images."""
    yield from _as_asked(record, "metrics", record.metrics, known)
    for i, milestone in enumerate(record.milestones):
        yield from _as_asked(record, f"milestones.{i}.metrics", milestone.metrics, known)
    if record.raw:
        yield from _as_asked(record, "raw.metrics", record.raw.metrics, known)
    choices = record.track.evaluation.choices
    for i, one in enumerate(record.floors):
        extractors = [extractor for name, extractor in choices if name == one.metric]
        if not extractors:
            yield f"floors.{i}.metric is {shown(one.metric)}, should be one of its track's"
        yield from measurement(f"floors.{i}", one, extractors, known, floor=True)
        yield from _against(f"floors.{i}", one, known.metric(one.metric), record.reference_sha256)


def metrics_of_evaluation(found: Evaluation, known: Known) -> Faults:
    """What `ditbench evaluate` measured."""
    marks = "-jpeg" if found.samples.jpeg else ""
    for i, one in enumerate(found.metrics):
        yield from differs(f"metrics.{i}.samples", one.samples, found.samples.count, "images that were scored")
        yield from measurement(f"metrics.{i}", one, [found.extractor], known, marks)
        yield from _against(f"metrics.{i}", one, known.metric(one.metric), found.reference.sha256)
    for i, one in enumerate(found.floors):
        yield from measurement(f"floors.{i}", one, [found.extractor], known, floor=True)


def _as_asked(record: Record, place: str, found: Sequence[Measurement], known: Known) -> Faults:
    """The track's metrics, of as many samples as it asks; none where samples were not finite."""
    choices = record.track.evaluation.choices
    if found:
        yield from differs(place, [one.metric for one in found], [name for name, _ in choices], "its track's")
    yield from against_each_other(place, found, known)
    for i, (one, (name, extractor)) in enumerate(zip(found, choices, strict=False)):
        field, metric = f"{place}.{i}", known.metric(name)
        of = record.denoising if metric is not None and metric.sees == "denoiser" else None
        samples = record.track.evaluation.samples if of is None else of.images
        yield from differs(f"{field}.samples", one.samples, samples, "its track's")
        yield from measurement(field, one, [extractor if of is None else protocol_features(of.labelled)], known)
        precision = record.track.evaluation.precision if of is None else record.recipe.precision
        computed = precision_on(record.device, precision)
        should = None if computed == "float32" else computed
        yield from differs(f"{field}.settings.precision", one.settings.get("precision"), should, "its track's")
        if of is None:
            yield from _clips(field, one, metric, record, known)
        on_pixels = metric is not None and metric.sees == "pixels"
        reference = record.data_sha256 if on_pixels else record.reference_sha256
        examples = record.data.examples if record.data and reference == record.data_sha256 else None
        yield from _against(field, one, known.metric(one.metric), reference, examples)
        if metric is not None and metric.sees == "distances":
            yield from _panel(field, one, extractor, found, record.floors)
        if i == 0 and not one.raw:
            yield f"{field}.raw is empty, should hold what the value that ranks follows from"


def _clips(field: str, one: Measurement, metric: Metric | None, record: Record, known: Known) -> Faults:
    """A number of clips tells which these are, and against which real ones it is."""
    data = record.track.data
    if data.frames == 1 or metric is None or metric.sees == "distances":
        return
    yield from differs(f"{field}.settings.frames", one.settings.get("frames"), data.frames, "its track's")
    yield from differs(f"{field}.settings.interval", one.settings.get("interval"), data.interval, "its track's")
    if metric.against != "nothing":
        split = "training" if one.reference_sha256 == record.data_sha256 else "given"
        yield from differs(f"{field}.settings.split", one.settings.get("split"), split, "by the reference")
    extractor = known.registry.extractors.get(one.protocol.partition("/")[2])
    if extractor is not None:
        yield from differs(f"{field}.settings.resize", one.settings.get("resize"), extractor.resize or "none")


def _panel(
    field: str, one: Measurement, features: str, found: Sequence[Measurement], floors: Sequence[Measurement]
) -> Faults:
    """A mean over extractors follows from their own distances and floors, which the record has."""
    own, real, names = by_extractor(found), by_extractor(floors), panel(features)
    for name in names:
        if name not in own or name not in real:
            yield f"{field} is there, should not be: the record has no Fréchet distance of {name}, or no floor of it"
            return
    should = ratios([own[name] for name in names], [real[name] for name in names])
    yield from differs(f"{field}.raw", dict(one.raw), dict(should), "the distances and floors of its extractors")


def _against(
    field: str, one: Measurement, metric: Metric | None, reference: str | None, examples: int | None = None
) -> Faults:
    """A metric names the real images that it compared with, and all of them where they are the training images."""
    if metric is None:
        return
    if metric.against == "nothing":
        yield from differs(f"{field}.reference_samples", one.reference_samples, None, "it compares with nothing")
    elif examples is not None:
        count = examples if metric.against == "moments" or metric.sees == "pixels" else min(examples, KEPT)
        yield from differs(f"{field}.reference_samples", one.reference_samples, count, "training images")
    should = None if metric.against == "nothing" else reference
    yield from differs(f"{field}.reference_sha256", one.reference_sha256, should)


def measurement(
    field: str, one: Measurement, extractors: Sequence[str], known: Known, marks: str = "", floor: bool = False
) -> Faults:
    """One number: its full name, its features, and that value and spread follow from its raw numbers.

    One of `extractors` gave its features; `marks` stand in its name. A floor may be the mean over random halves.
    """
    metric = known.metric(one.metric)
    featureless = metric.output is None if metric else one.features_sha256 is None
    on_pixels = featureless and (metric is None or metric.sees == "pixels")
    names = [protocol(one.metric, one.samples, name, marks) for name in ([RAW_PIXELS] if on_pixels else extractors)]
    if names and one.protocol not in names:
        yield f"{field}.protocol is {shown(one.protocol)}, should be {' or '.join(map(shown, names))}"
    yield from within_the_head(field, one, known)
    weights = None if featureless else known.weights(one.protocol.partition("/")[2]) or one.features_sha256
    yield from differs(f"{field}.features_sha256", one.features_sha256, weights, "weights of the features in its name")
    if metric:
        yield from differs(f"{field}.higher_is_better", one.higher_is_better, metric.higher_is_better)
    parts = [name for name in ("random_halves", "random_parts") if floor and name in one.settings]
    if parts:
        yield from _lengths(field, one, {"values": FLOOR_SPLITS}, {parts[0]: FLOOR_SPLITS})
    elif metric and (kind := known.raw_of(metric)):
        yield from _OURS[one.metric](field, one) if one.metric in _OURS else _raw(field, one, kind)
    if one.raw:
        yield from _value(field, one)


def _value(field: str, one: Measurement) -> Faults:
    try:
        value, spread = of_raw(one.raw)
    except ValueError as error:
        yield f"{field}.raw is {shown(one.raw)}: {error}"
        return
    yield from differs(f"{field}.value", one.value, value, f"{one.metric} by its raw numbers")
    yield from differs(f"{field}.spread", one.spread, spread, f"{one.metric} by its raw numbers")


def _raw(field: str, one: Measurement, kind: RawKey) -> Faults:
    """Raw numbers of the metric's kind. How many there are, and what else they are, its plugin knows alone."""
    kinds = [found for found in one.raw if found != "jackknife"]
    yield from differs(f"the kind of {field}.raw", kinds, [kind], f"what {one.metric} follows from")
    for i, count in enumerate(one.raw.get("counts", ())):
        yield from differs(f"{field}.raw.counts.{i}", count, float(round(count)), "a count")


def _frechet(field: str, one: Measurement) -> Faults:
    """The two terms of a Fréchet distance, and the jackknife of all but the fewest samples."""
    lengths: dict[RawKey, int] = {"terms": 2}
    if one.samples >= MIN_JACKKNIFED:
        lengths["jackknife"] = JACKKNIFE_PARTS
    yield from _lengths(field, one, lengths, {})
    yield from _terms(field, one.raw.get("terms", ()))
    yield from _jackknife(field, one.value, one.raw.get("jackknife", ()))


def _inception(field: str, one: Measurement) -> Faults:
    """An Inception Score of each split."""
    yield from _lengths(field, one, {"values": IS_SPLITS}, {"splits": IS_SPLITS})
    for i, value in enumerate(one.raw.get("values", ())):
        if value < 1 - ROUNDING:
            yield f"{field}.raw.values.{i} is {value}, should be at least 1: an Inception Score is"
        if value > -(-one.samples // IS_SPLITS) + ROUNDING:
            yield f"{field}.raw.values.{i} is {value}, should be no more than the images of its split"


def _kernel(field: str, one: Measurement) -> Faults:
    """A KID of each subset: no subset was left out."""
    size = min(KID_SUBSET_SIZE, one.samples, one.reference_samples or 0)
    subsets = 1 if one.samples == one.reference_samples == size else KID_SUBSETS
    yield from _lengths(field, one, {"values": subsets}, {"subsets": subsets, "subset_size": size})


def _neighbours(field: str, one: Measurement) -> Faults:
    """Hits and tries of a search for neighbours."""
    yield from _lengths(field, one, {"counts": 2}, {"neighbours": NEIGHBOURS})
    if len(one.raw.get("counts", ())) == 2:
        yield from _counts(field, one)


def _memorised(field: str, one: Measurement) -> Faults:
    """Hits and tries, against what so many held-out images show."""
    aside = one.settings.get("held_out")
    usual = min(aside, CALIBRATED_ON) if isinstance(aside, int) else None
    yield from _lengths(field, one, {"counts": 2}, {} if usual is None else {"calibrated_on": usual})
    if not isinstance(aside, int) or aside < 1:
        yield f"{field}.settings.held_out is {shown(aside)}, should be how many images were held out"
    if len(one.raw.get("counts", ())) == 2:
        yield from _counts(field, one)


def _tracked(field: str, one: Measurement) -> Faults:
    """Clips that a tracker took for real motion, of all, by the tolerances that everybody has."""
    yield from _lengths(field, one, {"counts": 2}, TRACKED)
    if len(one.raw.get("counts", ())) == 2:
        yield from _counts(field, one)


def _terms(field: str, terms: Sequence[float]) -> Faults:
    """A squared distance of means, and with that of covariances one that is 0 at least."""
    if terms and terms[0] < 0:
        yield f"{field}.raw.terms.0 is {terms[0]}, should not be below 0: it is a square"
    for covariance in terms[1:2]:
        if covariance < -ROUNDING * max(1.0, terms[0]):
            yield f"{field}.raw.terms.1 is {covariance}, should not be below 0: it is a distance of covariances"
    if math.fsum(terms) < -ROUNDING:
        yield f"the sum of {field}.raw.terms is {math.fsum(terms)}, should not be below 0: it is a distance"


def _jackknife(field: str, value: float, without: Sequence[float]) -> Faults:
    """Without a tenth of the samples, a Fréchet distance is on average no smaller than with all: it is convex.

    Squared distances of means are, and of covariances, and the covariance of all holds those of the parts' means.
    """
    for i, one in enumerate(without):
        if one < -ROUNDING:
            yield f"{field}.raw.jackknife.{i} is {one}, should not be below 0: it is a distance"
    if without and fmean(without) < CONVEX * value - ROUNDING:
        least = f"should be {CONVEX * value:.6g} or more, by the value of all samples"
        yield f"the mean of {field}.raw.jackknife is {fmean(without):.6g}, {least}"


def _lengths(field: str, one: Measurement, lengths: dict[RawKey, int], settings: Mapping[str, float]) -> Faults:
    found = {kind: len(numbers) for kind, numbers in one.raw.items()}
    yield from differs(f"{field}.raw", found, lengths, "how many")
    for name, value in settings.items():
        yield from differs(f"{field}.settings.{name}", one.settings.get(name), value, one.metric)


def _counts(field: str, one: Measurement) -> Faults:
    """Hits are whole, and as many were tried as the metric counts: samples, or for recall the real images."""
    hits, tries = one.raw["counts"]
    of = one.reference_samples if one.metric == "recall" else one.samples
    yield from differs(f"{field}.raw.counts.0", hits, float(round(hits)), "a count")
    yield from differs(f"{field}.raw.counts.1", tries, None if of is None else float(of), "images that were tried")


_OURS: dict[str, Callable[[str, Measurement], Faults]] = {  # ditbench's own metrics, of which more is known
    **dict.fromkeys(("fid", "fd", "sfid", "fvd", "frame-fid"), _frechet),
    "is": _inception,
    "kid": _kernel,
    **dict.fromkeys(("precision", "recall", "knn"), _neighbours),
    "memorised": _memorised,
    "moves": _tracked,
    **dict.fromkeys(WEIGHTS, denoising.lengths),
}
