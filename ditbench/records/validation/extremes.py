"""What an extractor's width and a run's other metrics say of a metric: bounds that its own raw numbers don't know.

They hold for samples that a network drew by itself. `ditbench evaluate` may be given the real images themselves, whose
distances may be anything near 0; of these, only the head's classes are asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from statistics import fmean

from ...components import Extractor
from ..facts import Measurement
from .faults import Faults
from .known import Known

ROUNDING = 1e-3  # of an Inception Score, and of a Fréchet distance
FEWER = 2.0  # times an FID, and some deviations, its jackknife may be on average: a tenth fewer samples add a ninth
FEWEST = 10.0  # likewise where there are hardly more samples than features, whose roots are those of rounding
STRAY = 5.0  # deviations of its subsets by which a KID may be too small; so far no mean of a hundred strays
LEAST_KID = 0.25  # of what the means alone give; half of them may be chance, if the images are as good as real ones
MOST_KID = 20.0  # times 3 / width of the FID; from noise to good samples, it is between 0.2 and 1.5


def within_the_head(field: str, one: Measurement, known: Known) -> Faults:
    """An Inception Score is at most the number of classes that the extractor tells apart."""
    extractor = _extractor(one, known)
    if one.metric != "is" or extractor is None or not extractor.classes:
        return
    for i, value in enumerate(one.raw.get("values", ())):
        if value > extractor.classes + ROUNDING:
            yield f"{field}.raw.values.{i} is {value}, should be no more than the {extractor.classes} classes"


def against_each_other(place: str, found: Sequence[Measurement], known: Known) -> Faults:
    """Metrics of one set of samples: an FID and its jackknife, and FIDs and KIDs of the same features."""
    for i, one in enumerate(found):
        without = one.raw.get("jackknife", ())
        if without and fmean(without) > _most(one, known):
            most = f"should be about {one.value:.6g}, the value of all samples"
            yield f"the mean of {place}.{i}.raw.jackknife is {fmean(without):.6g}, {most}"
        if one.metric == "kid" and (one.spread or 0) > 0 and one.value < -STRAY * (one.spread or 0):
            yield f"{place}.{i}.value is {one.value}, should not be so far below 0: it is a squared distance"
    for (i, fid), (k, kid) in _pairs(found):
        extractor = _extractor(fid, known)
        if extractor is not None and extractor.width and kid.spread is not None:
            yield from _contradiction(f"{place}.{k}", kid, f"{place}.{i}", fid, extractor.width)


def _most(one: Measurement, known: Known) -> float:
    """What the jackknife of a Fréchet distance is on average at most."""
    extractor = _extractor(one, known)
    enough = extractor is not None and one.samples > 2 * extractor.width > 0
    return (FEWER if enough else FEWEST) * one.value + STRAY * (one.spread or 0) + ROUNDING


def _pairs(found: Sequence[Measurement]) -> Iterator[tuple[tuple[int, Measurement], tuple[int, Measurement]]]:
    """An FID and a KID of the same features, with their places."""
    for one, other in product(enumerate(found), repeat=2):
        if one[1].metric in ("fid", "fd") and other[1].metric == "kid" and _features(one[1]) == _features(other[1]):
            yield one, other


def _contradiction(field: str, kid: Measurement, place: str, fid: Measurement, width: int) -> Faults:
    """KID's kernel is (x.y / width + 1)^3, so that it is at least 3 / width of the squared distance of the means.

    By the kernel's other terms and by the covariances it is more, though not much more than the FID's share.
    """
    unit, means = 3 / width, fid.raw.get("terms", (0.0,))[0]
    slack = STRAY * (kid.spread or 0)
    least, most = LEAST_KID * unit * means - slack, MOST_KID * unit * (fid.value + ROUNDING) + slack
    if not least <= kid.value <= most:
        between = f"from {least:.3g} to {most:.3g}, by {place}, of the same features"
        yield f"{field}.value is {kid.value}, should be {between}"


def _features(one: Measurement) -> str:
    return one.protocol.partition("/")[2]


def _extractor(one: Measurement, known: Known) -> Extractor | None:
    return known.registry.extractors.get(_features(one))
