"""The Fréchet distance of two sets of images or clips: FID, sFID and FVD, and its jackknife over the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from ..components import Output
from ..records.facts import BELOW_ZERO
from ..records.metric_constants import JACKKNIFE_PARTS, MIN_JACKKNIFED, SEED
from .features import Features, Moments
from .quality import Score

INFINITY_SIZES = 15


def frechet_distance(fake: Features, real: Features) -> Score:
    """FID (Heusel et al., 2017), of clips FVD (Unterthiner et al., 2018), statistics and square root in float64."""
    return _frechet_score("features", fake, real)


def spatial_frechet_distance(fake: Features, real: Features) -> Score:
    """sFID (Nash et al., 2021): the same of the extractor's spatial output."""
    return _frechet_score("spatial", fake, real)


def _frechet_score(output: Output, fake: Features, real: Features) -> Score:
    """The distance as that of the means and that of the covariances, and its jackknife over the samples."""
    means = fake.moments_of(output).mean - real.moments_of(output).mean
    of_means = float(means @ means)
    terms = [of_means, _frechet(output, fake, real) - of_means]
    without = jackknife(fake.outputs[output], real.moments_of(output))
    return Score.of({"terms": terms, "jackknife": without} if without else {"terms": terms})


def _frechet(output: Output, fake: Features, real: Features) -> float:
    both = [
        {"mu": moments.mean.numpy(), "sigma": moments.covariance.numpy()}
        for moments in (fake.moments_of(output), real.moments_of(output))
    ]
    return float(fid_statistics_to_metric(*both, verbose=False)[KEY_METRIC_FID])


def jackknife(features: Tensor, real: Moments) -> list[float]:
    """Fréchet distances of the features (N, F) without each tenth in turn, drawn at random; none of less than 20.

    Of clips' frames, (N, frames, F), whole clips are left out: the frames of one are too much alike.
    """
    if len(features) < MIN_JACKKNIFED:
        return []
    order = torch.from_numpy(np.random.default_rng(SEED).permutation(len(features)))
    places = torch.arange(features.shape[:-1].numel()).view(len(features), -1)
    parts = [places[part].flatten() for part in order.tensor_split(JACKKNIFE_PARTS)]
    rows = features.flatten(0, -2)
    leave_out = _of_few if len(rows) < rows.shape[1] else _of_many
    return list(leave_out(rows, parts, real))


def _of_many(features: Tensor, parts: Sequence[Tensor], real: Moments) -> Iterator[float]:
    """A part's sums are taken from those of all. Tr (S R)^1/2 = Tr (R^1/2 S R^1/2)^1/2, and the root is taken once."""
    sums = [_sums(features[part].double() - real.mean) for part in parts]
    total = [sum(of_parts) for of_parts in zip(*sums, strict=True)]
    values, vectors = torch.linalg.eigh(real.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    for own in sums:
        count, of_rows, of_squares = (whole - part for whole, part in zip(total, own, strict=True))
        mean = of_rows / count
        covariance = (of_squares - count * mean.outer(mean)) / (count - 1)
        yield _distance(mean, covariance.trace(), real, root @ covariance @ root)


def _of_few(features: Tensor, parts: Sequence[Tensor], real: Moments) -> Iterator[float]:
    """With fewer rows X than columns, S = X'X / (n - 1) and the eigenvalues of S R are those of X R X' / (n - 1)."""
    rows = features.double() - real.mean
    products = rows @ real.covariance @ rows.T
    for part in parts:
        kept = torch.cat([other for other in parts if other is not part])
        mean, inner, degrees = rows[kept].mean(0), products[kept][:, kept], len(kept) - 1
        inner = inner - inner.mean(0) - inner.mean(1, keepdim=True) + inner.mean()
        yield _distance(mean, (rows[kept] - mean).square().sum() / degrees, real, inner / degrees)


def _sums(rows: Tensor) -> tuple[int, Tensor, Tensor]:
    """How many rows (n, F), their sum, and that of their outer products."""
    return len(rows), rows.sum(0), rows.T @ rows


def _distance(mean: Tensor, variance: Tensor, real: Moments, product: Tensor) -> float:
    """From the difference of the means, the samples' total variance, and a matrix with the eigenvalues of S R."""
    cross = torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()
    return float(mean @ mean + variance + real.covariance.trace() - 2 * cross)


def frechet_infinity(fake: Features, real: Features) -> Score:
    """FID of infinitely many samples (Chong & Forsyth, 2020): FID is linear in 1 / N, so draw the line on to 0.

    Over random subsets of the samples against all real images, whose number stays finite. Their sizes are equally
    spaced from a tenth of the samples, or twice the features' width if that is more, but at most half, to all.

    No distance is below 0, but the end of such a line may be, where its noise is larger than what is left. The value
    stays, since means over seeds must not be biased, and its settings say so.
    """
    width, count = fake.outputs["features"].shape[1], len(fake)
    sizes = np.linspace(min(max(count / 10, 2 * width), count / 2), count, INFINITY_SIZES).round().astype(int)
    draw = np.random.default_rng(SEED)
    found = [_frechet("features", fake.subset(draw.permutation(count)[:size]), real) for size in sizes]
    line = np.polynomial.Polynomial.fit(1 / sizes, found, 1).convert()
    value = float(line.coef[0])
    below = {BELOW_ZERO: "the noise of the line: no distance is negative"} if value < 0 else {}
    return Score(value, settings={"sizes": INFINITY_SIZES, "smallest": int(sizes[0]), **below})
