"""Numbers that follow from raw ones, computed in one place: when they are measured, and when a record is validated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, pstdev
from typing import Literal

from ..components import RawKind

RawKey = Literal[RawKind, "jackknife"]
Raw = Mapping[RawKey, Sequence[float]]


def of_raw(raw: Raw) -> tuple[float, float | None]:
    """A metric's value and its spread over the samples, from what it was computed from.

    ``terms`` add up (a Fréchet distance is that of the means and that of the covariances); ``values`` are averaged (a
    KID per subset, an IS per split); ``counts`` are hits and tries; ``ratios`` are pairs, and the mean of each first
    number divided by its second counts. The spread is the standard deviation of several values, or the standard error
    that ``jackknife`` gives: the value without each tenth of the samples in turn (Efron & Tibshirani 1993, chapter 11).
    None: the metric has no spread. `ValueError` if the raw numbers are no such.
    """
    kinds = set(raw) - {"jackknife"}
    if kinds == {"terms"}:
        value = math.fsum(raw["terms"])
    elif kinds == {"values"} and raw["values"]:
        value = fmean(raw["values"])
    elif kinds == {"counts"} and len(raw["counts"]) == 2 and 0 <= raw["counts"][0] <= raw["counts"][1] > 0:
        value = raw["counts"][0] / raw["counts"][1]
    elif kinds == {"ratios"} and len(raw["ratios"]) % 2 == 0 < len(raw["ratios"]) and min(raw["ratios"][1::2]) > 0:
        value = fmean(of / by for of, by in zip(raw["ratios"][::2], raw["ratios"][1::2], strict=True))
    else:
        raise ValueError("the raw numbers are neither terms, values, ratios nor the counts of hits and tries")
    return value, _spread(raw)


def sample_error(value: float, raw: Raw, disjoint: bool) -> float | None:
    """Standard error that the choice of samples gives a metric's value; None: it is not known.

    That of a jackknife, of hits and tries, or of values of disjoint parts. Overlapping subsets say nothing of it.
    """
    if "jackknife" in raw:
        return _spread(raw)
    if len(raw.get("counts", ())) == 2 and raw["counts"][1] > 0:
        return math.sqrt(max(0.0, value * (1 - value)) / raw["counts"][1])
    values = raw.get("values", ())
    return pstdev(values) / math.sqrt(len(values)) if disjoint and len(values) > 1 else None


def _spread(raw: Raw) -> float | None:
    if len(raw.get("values", ())) > 1:
        return pstdev(raw["values"])
    if len(without := raw.get("jackknife", ())) > 1:
        return math.sqrt(len(without) - 1) * pstdev(without)
    return None


def training_rate(batch_size: int, step_seconds: Sequence[float]) -> float:
    """Images per second at the median step: one hiccup does not count."""
    return batch_size / median(step_seconds)


def per_device(images_per_second: float, processes: int) -> float | None:
    """What each of a run's processes did of it, with a GPU or a share of a CPU's threads. None: there was only one."""
    return images_per_second / processes if processes > 1 else None


def sampling_rate(batch_images: Sequence[int], batch_seconds: Sequence[float]) -> float:
    """Images per second of the median batch."""
    return median(images / seconds for images, seconds in zip(batch_images, batch_seconds, strict=True))
