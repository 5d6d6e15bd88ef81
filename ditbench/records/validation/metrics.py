"""Measurements made again from their raw numbers: those of a run's record, of its verification, of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...builtins import ditbench_extractors, ditbench_metrics
from ..derived import Kind, of_raw
from ..evaluation import Evaluation
from ..facts import Measurement
from ..metric_constants import (
    FLOOR_SPLITS,
    IS_SPLITS,
    JACKKNIFE_PARTS,
    KEPT,
    KID_SUBSET_SIZE,
    KID_SUBSETS,
    MIN_JACKKNIFED,
    NEIGHBOURS,
    RAW_PIXELS,
    protocol,
)
from ..record import Record
from .faults import Faults, differs, shown

KINDS: dict[str, Kind] = {  # what ditbench's own metrics are computed from
    "fid": "terms", "sfid": "terms", "fd": "terms", "kid": "values", "is": "values",
    "precision": "counts", "recall": "counts", "knn": "counts",
}  # fmt: skip
ROUNDING = 1e-3  # of a Fréchet distance: of equal sets it is 0 but for roots of covariances without full rank
_METRICS = {metric.name: metric for metric in ditbench_metrics()}
_WEIGHTS = {extractor.name: extractor.weights.sha256 for extractor in ditbench_extractors()}


def metrics_of(record: Record) -> Faults:
    """All that a run measured: of its last weights, on the way, of the raw weights, and of real images."""
    yield from _as_asked(record, "metrics", record.metrics)
    for i, milestone in enumerate(record.milestones):
        yield from _as_asked(record, f"milestones.{i}.metrics", milestone.metrics)
    if record.raw:
        yield from _as_asked(record, "raw.metrics", record.raw.metrics)
    choices = record.track.evaluation.choices
    for i, one in enumerate(record.floors):
        extractors = [extractor for name, extractor in choices if name == one.metric]
        if not extractors:
            yield f"floors.{i}.metric is {shown(one.metric)}, should be one of its track's"
        yield from measurement(f"floors.{i}", one, extractors, floor=True)
        yield from _against(f"floors.{i}", one, record.reference_sha256)


def metrics_of_evaluation(found: Evaluation) -> Faults:
    """What `ditbench evaluate` measured."""
    marks = "-jpeg" if found.samples.jpeg else ""
    for i, one in enumerate(found.metrics):
        yield from differs(f"metrics.{i}.samples", one.samples, found.samples.count, "images that were scored")
        yield from measurement(f"metrics.{i}", one, [found.extractor], marks)
        yield from _against(f"metrics.{i}", one, found.reference.sha256)
    for i, one in enumerate(found.floors):
        yield from measurement(f"floors.{i}", one, [found.extractor], floor=True)


def _as_asked(record: Record, place: str, found: Sequence[Measurement]) -> Faults:
    """The track's metrics, of as many samples as it asks; none where samples were not finite."""
    choices = record.track.evaluation.choices
    if found:
        yield from differs(place, [one.metric for one in found], [name for name, _ in choices], "its track's")
    for i, (one, (name, extractor)) in enumerate(zip(found, choices, strict=False)):
        field = f"{place}.{i}"
        yield from differs(f"{field}.samples", one.samples, record.track.evaluation.samples, "its track's")
        yield from measurement(field, one, [extractor])
        on_pixels = name in _METRICS and _METRICS[name].sees == "pixels"
        reference = record.data_sha256 if on_pixels else record.reference_sha256
        examples = record.data.examples if record.data and reference == record.data_sha256 else None
        yield from _against(field, one, reference, examples)
        if i == 0 and not one.raw:
            yield f"{field}.raw is empty, should hold what the value that ranks follows from"


def _against(field: str, one: Measurement, reference: str | None, examples: int | None = None) -> Faults:
    """A metric names the real images that it compared with, and all of them where they are the training images."""
    metric = _METRICS.get(one.metric)
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
    field: str, one: Measurement, extractors: Sequence[str], marks: str = "", floor: bool = False
) -> Faults:
    """One number: its full name, its features, and that value and spread follow from its raw numbers.

    One of `extractors` gave its features; `marks` stand in its name. A floor may be the mean over random halves.
    """
    metric = _METRICS.get(one.metric)
    on_pixels = metric.sees == "pixels" if metric else one.features_sha256 is None
    names = [protocol(one.metric, one.samples, name, marks) for name in ([RAW_PIXELS] if on_pixels else extractors)]
    if names and one.protocol not in names:
        yield f"{field}.protocol is {shown(one.protocol)}, should be {' or '.join(map(shown, names))}"
    weights = None if on_pixels else _WEIGHTS.get(one.protocol.partition("/")[2], one.features_sha256)
    yield from differs(f"{field}.features_sha256", one.features_sha256, weights, "weights of the features in its name")
    if metric:
        yield from differs(f"{field}.higher_is_better", one.higher_is_better, metric.higher_is_better)
    if floor and "random_halves" in one.settings:
        yield from _lengths(field, one, {"values": FLOOR_SPLITS}, {"random_halves": FLOOR_SPLITS})
    elif one.metric in KINDS:
        yield from _kind(field, one)
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


def _kind(field: str, one: Measurement) -> Faults:
    """Raw numbers of the metric's kind, and all of them: no subset or split that was left out."""
    kind = KINDS[one.metric]
    if kind == "terms":
        lengths: dict[Kind, int] = {"terms": 2}
        if one.samples >= MIN_JACKKNIFED:
            lengths["jackknife"] = JACKKNIFE_PARTS
        yield from _lengths(field, one, lengths, {})
        yield from _terms(field, one.raw.get("terms", ()))
    elif one.metric == "is":
        yield from _lengths(field, one, {"values": IS_SPLITS}, {"splits": IS_SPLITS})
        for i, value in enumerate(one.raw.get("values", ())):
            if value < 1 - ROUNDING:
                yield f"{field}.raw.values.{i} is {value}, should be at least 1: an Inception Score is"
    elif one.metric == "kid":
        size = min(KID_SUBSET_SIZE, one.samples, one.reference_samples or 0)
        subsets = 1 if one.samples == one.reference_samples == size else KID_SUBSETS
        yield from _lengths(field, one, {"values": subsets}, {"subsets": subsets, "subset_size": size})
    else:
        yield from _lengths(field, one, {"counts": 2}, {"neighbours": NEIGHBOURS})
        if len(one.raw.get("counts", ())) == 2:
            yield from _counts(field, one)


def _terms(field: str, terms: Sequence[float]) -> Faults:
    """A squared distance of means, and with that of covariances one that is 0 at least."""
    if terms and terms[0] < 0:
        yield f"{field}.raw.terms.0 is {terms[0]}, should not be below 0: it is a square"
    if math.fsum(terms) < -ROUNDING:
        yield f"the sum of {field}.raw.terms is {math.fsum(terms)}, should not be below 0: it is a distance"


def _lengths(field: str, one: Measurement, lengths: dict[Kind, int], settings: dict[str, int]) -> Faults:
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
