"""Quality metrics over one shared feature pass. The arithmetic is the libraries' where they have it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean, stdev

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from .components import Metric, Value, load
from .features import Extractor, Features
from .record import Measurement

KID_SUBSETS, KID_SUBSET_SIZE = 100, 500
IS_SPLITS = 10
INFINITY_SIZES = 15
NEIGHBOURS = 3
METRIC_SEED = 0  # every random subset or split is drawn from this


@dataclass(frozen=True)
class Score:
    """A metric's value, its own spread, and the settings that a reader needs."""

    value: float
    spread: float | None = None
    settings: Mapping[str, Value] = field(default_factory=dict)


def measure(metric: Metric, fake: Features, real: Features, extractor: Extractor) -> Measurement:
    """One metric of `fake` against `real`, under its full protocol name."""
    with _seeded():
        score: Score = load(metric.measure)(fake, real)
    on_pixels = metric.sees == "pixels"
    return Measurement(
        protocol=protocol(metric.name, len(fake), "raw-pixels" if on_pixels else extractor.name),
        metric=metric.name,
        value=score.value,
        spread=score.spread,
        higher_is_better=metric.higher_is_better,
        samples=len(fake),
        reference_samples=len(real),
        features_sha256=None if on_pixels else extractor.sha256,
        settings=dict(score.settings),
    )


def floor(metric: Metric, real: Features, extractor: Extractor, splits: int) -> Measurement:
    """The metric between random halves of the real images: mean, and standard deviation over the splits.

    What a perfect model would score with that few samples; FID's bias grows as they get fewer, so it is no
    bound for the larger sample that a run is scored on.
    """
    found = []
    for split in range(splits):
        order = np.random.default_rng([METRIC_SEED, split]).permutation(len(real))
        one, other = np.array_split(order, 2)
        found.append(measure(metric, real.subset(other), real.subset(one), extractor))
    values = [measurement.value for measurement in found]
    settings = {**found[0].settings, "random_halves": splits}
    return found[0].model_copy(update={"value": fmean(values), "spread": stdev(values), "settings": settings})


def protocol(metric: str, samples: int, features: str) -> str:
    """A metric's full name: ``protocol("fid", 50_000, "x") == "fid50k/x"``."""
    count = f"{samples // 1000}k" if samples % 1000 == 0 else str(samples)
    return f"{metric}{count}/{features}"


def frechet_distance(fake: Features, real: Features) -> Score:
    """FID (Heusel et al., 2017), statistics and square root in float64."""
    metric = FrechetInceptionDistance(feature=_given(real.features.shape[1])).set_dtype(torch.float64)
    metric.update(real.features.double(), real=True)
    metric.update(fake.features.double(), real=False)
    return Score(float(metric.compute()))


def frechet_infinity(fake: Features, real: Features) -> Score:
    """FID of infinitely many samples (Chong & Forsyth, 2020): FID is linear in 1 / N, so draw the line on to 0.

    Over random subsets of the samples against all real images, whose number stays finite. Their sizes are equally
    spaced from a tenth of the samples, or twice the features' width if that is more, but at most half, to all.
    """
    width, count = fake.features.shape[1], len(fake)
    sizes = np.linspace(min(max(count / 10, 2 * width), count / 2), count, INFINITY_SIZES).round().astype(int)
    draw = np.random.default_rng(METRIC_SEED)
    found = [frechet_distance(fake.subset(draw.permutation(count)[:size]), real).value for size in sizes]
    line = np.polynomial.Polynomial.fit(1 / sizes, found, 1).convert()
    return Score(float(line.coef[0]), settings={"sizes": INFINITY_SIZES, "smallest": int(sizes[0])})


def kernel_distance(fake: Features, real: Features) -> Score:
    """KID (Binkowski et al., 2018): mean and standard deviation over random subsets."""
    size = min(KID_SUBSET_SIZE, len(fake), len(real))
    metric = KernelInceptionDistance(feature=_given(real.features.shape[1]), subsets=KID_SUBSETS, subset_size=size)
    metric.update(real.features.double(), real=True)
    metric.update(fake.features.double(), real=False)
    mean, spread = metric.compute()
    return Score(float(mean), float(spread), {"subsets": KID_SUBSETS, "subset_size": size})


def inception_score(fake: Features, real: Features) -> Score:
    """IS (Salimans et al., 2016): mean and standard deviation over splits. `real` plays no part."""
    metric = InceptionScore(feature=nn.Identity(), splits=IS_SPLITS)
    metric.update(fake.logits.double())
    mean, spread = metric.compute()
    return Score(float(mean), float(spread), {"splits": IS_SPLITS})


def class_accuracy(fake: Features, real: Features) -> Score:
    """Share of the fake images to which 3-NN on the real images' raw pixels gives their own label."""
    judge = KNeighborsClassifier(n_neighbors=NEIGHBOURS)
    judge.fit(_rows(real), real.labels)
    told = judge.predict(_rows(fake))
    return Score(float(np.mean(told == fake.labels)), settings={"neighbours": NEIGHBOURS})


def _rows(images: Features) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return images.pixels.reshape(len(images), -1).astype(np.float32)


def _given(width: int) -> nn.Module:
    """An extractor for features that are there already."""
    identity = nn.Identity()
    identity.__dict__["num_features"] = width  # where torchmetrics looks for it
    return identity


@contextmanager
def _seeded() -> Iterator[None]:
    """Fixed draws that leave the caller's generator alone; torchmetrics' notes on memory kept quiet."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metric .* will save all extracted features")
        torch.manual_seed(METRIC_SEED)
        yield
