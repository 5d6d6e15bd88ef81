"""Quality metrics over one shared feature pass. The arithmetic is torch-fidelity's where it has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from ..components import Extractor, Metric, Output, Value, load
from ..records.derived import Raw, of_raw
from ..records.facts import Measurement
from ..records.metric_constants import (
    FLOOR_SPLITS,
    IS_SPLITS,
    KID_SUBSET_SIZE,
    KID_SUBSETS,
    NEIGHBOURS,
    RAW_PIXELS,
    SEED,
    protocol,
)
from .features import Features
from .kernel import squared_mmd, squared_mmds
from .manifolds import within_each_other

MetricCallback = Callable[[str], None]  # hears of the metric that is measured next


@dataclass(frozen=True)
class Score:
    """A metric's value, its spread over the samples, the settings that a reader needs, and the raw numbers behind."""

    value: float
    spread: float | None = None
    settings: Mapping[str, Value] = field(default_factory=dict)
    raw: Raw = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Raw, **settings: Value) -> Score:
        """The score that follows from raw numbers, as `derived.of_raw` has it."""
        return cls(*of_raw(raw), settings, raw)


def outputs_for(metrics: Sequence[Metric]) -> tuple[Output, ...]:
    """What an extractor has to put out for these metrics."""
    return tuple(dict.fromkeys(metric.output for metric in metrics if metric.output is not None))


def measure_all(
    metrics: Sequence[Metric],
    fake: Features,
    real: Features,
    extractor: Extractor,
    reference_sha256: str | None = None,
    marks: str = "",
    report: MetricCallback = lambda name: None,
) -> list[Measurement]:
    """Each metric of `fake` against `real`, under its full protocol name; `marks` become part of the name."""
    found = []
    for metric in metrics:
        report(metric.name)
        found.append(_measure(metric, fake, real, extractor, reference_sha256, marks))
    _within.cache_clear()  # it holds on to the features
    return found


def _measure(
    metric: Metric, fake: Features, real: Features, extractor: Extractor, reference_sha256: str | None, marks: str
) -> Measurement:
    score: Score = load(metric.measure)(fake, real)
    on_pixels = metric.sees == "pixels"
    return Measurement(
        protocol=protocol(metric.name, fake.count, RAW_PIXELS if on_pixels else extractor.name, marks),
        metric=metric.name,
        value=score.value,
        spread=score.spread,
        higher_is_better=metric.higher_is_better,
        samples=fake.count,
        reference_samples=_seen(metric, real),
        reference_sha256=None if metric.against == "nothing" else reference_sha256,
        features_sha256=None if on_pixels else extractor.weights.sha256,
        settings={**score.settings, **fake.settings, **_about_clips(metric, real, extractor)},
        raw={kind: list(numbers) for kind, numbers in score.raw.items()},
    )


def _about_clips(metric: Metric, real: Features, extractor: Extractor) -> dict[str, Value]:
    """What else a number of clips depends on: which real ones there are, and how frames get the network's size."""
    if real.clips is None:
        return {}
    about: dict[str, Value] = {} if metric.output is None else {"resize": extractor.resize or "none"}
    return about if metric.against == "nothing" else {**about, "split": real.clips.split}


def _seen(metric: Metric, real: Features) -> int | None:
    """How many real images a metric compares with; None: with none, or the file of moments does not tell."""
    if metric.against == "nothing":
        return None
    if metric.against == "moments" and metric.output is not None:
        return real.moments_of(metric.output).count or None
    return len(real)


def floors(
    metrics: Sequence[Metric],
    real: Features,
    extractor: Extractor,
    reference_sha256: str | None = None,
    report: MetricCallback = lambda name: None,
    samples: int | None = None,
) -> list[Measurement]:
    """The metrics between random halves of the real images: mean, and standard deviation over the splits.

    What a perfect model would score with that few samples; FID's bias grows as they get fewer. With `samples`, as many
    real ones are compared with all others, or, where there are not twice as many, a half with the other half.
    """
    splits, half = [], len(real) // 2
    count = half if samples is None else min(samples, half)
    for split in range(FLOOR_SPLITS):
        order = np.random.default_rng([SEED, split]).permutation(len(real))
        rest = order[: len(order) - count] if count < half else order[:half]  # of one size, so that KID takes all
        one, other = real.subset(rest), real.subset(order[len(rest) : len(rest) + count])
        splits.append(measure_all(metrics, other, one, extractor, reference_sha256, report=report))
    name = "random_halves" if samples is None else "random_parts"
    return [_mean_of(found, name) for found in zip(*splits, strict=True)]


def _mean_of(found: Sequence[Measurement], name: str) -> Measurement:
    raw: Raw = {"values": [measurement.value for measurement in found]}
    value, spread = of_raw(raw)
    settings = {**found[0].settings, name: len(found)}
    return found[0].model_copy(update={"value": value, "spread": spread, "settings": settings, "raw": raw})


def kernel_distance(fake: Features, real: Features) -> Score:
    """KID (Binkowski et al., 2018): mean and standard deviation over random subsets.

    Two sets that a subset holds whole are compared once: more subsets would be the same again.
    """
    size = min(KID_SUBSET_SIZE, len(fake), len(real))
    count = 1 if len(fake) == len(real) == size else KID_SUBSETS
    draw = np.random.RandomState(SEED)  # torch-fidelity's stream, in its order
    subsets = [
        (draw.choice(len(fake), size, replace=False), draw.choice(len(real), size, replace=False)) for _ in range(count)
    ]
    one_by_one = _mmd if fake.device.type == "cpu" else squared_mmd  # torch-fidelity's arrays are the CPU's
    of_fake, of_real = on_device(fake, real)
    overlap = (len(fake) + len(real)) ** 2 < count * size**2  # so all with all are fewer pairs than the subsets' own
    if overlap:
        values = squared_mmds(of_fake, of_real, subsets)
    else:
        values = [one_by_one(of_fake[mine], of_real[yours]) for mine, yours in subsets]
    return Score.of({"values": values}, subsets=count, subset_size=size)


def _mmd(fake: Tensor, real: Tensor) -> float:
    """torch-fidelity's, of one pair of subsets."""
    settings = {"kid_subsets": 1, "kid_subset_size": len(fake), "verbose": False}
    return float(kid_features_to_metric(fake, real, **settings)[KEY_METRIC_KID_MEAN])


def inception_score(fake: Features, real: Features) -> Score:
    """IS (Salimans et al., 2016): mean and standard deviation over splits. `real` plays no part."""
    logits = fake.outputs["logits"][np.random.RandomState(SEED).permutation(fake.count)]  # torch-fidelity's shuffle
    ends = [split * fake.count // IS_SPLITS for split in range(IS_SPLITS + 1)]
    values = [
        float(isc_features_to_metric(logits[start:end], splits=1, shuffle=False)[KEY_METRIC_ISC_MEAN])
        for start, end in pairwise(ends)
    ]
    return Score.of({"values": values}, splits=IS_SPLITS)


def precision(fake: Features, real: Features) -> Score:
    """Share of the samples that lie within the real images' manifold (Kynkäänniemi et al., 2019)."""
    return _share(_within(fake, real)[0], len(fake))


def recall(fake: Features, real: Features) -> Score:
    """Share of the real images that lie within the samples' manifold (Kynkäänniemi et al., 2019)."""
    return _share(_within(fake, real)[1], len(real))


def _share(count: int, of: int) -> Score:
    return Score.of({"counts": [count, of]}, neighbours=NEIGHBOURS)


@lru_cache(maxsize=1)  # precision and recall come from the same distances
def _within(fake: Features, real: Features) -> tuple[int, int]:
    return within_each_other(*on_device(fake, real))


def on_device(fake: Features, real: Features) -> tuple[Tensor, Tensor]:
    """The features of both (N, F), where the samples' may be compared."""
    mine, yours = (of.outputs["features"].to(fake.device) for of in (fake, real))
    return mine, yours
