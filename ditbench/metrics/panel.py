"""Metrics that are made of several extractors' Fréchet distances: none of these can be gamed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..components import Metric, Value, load
from ..errors import BadValue
from ..records.facts import Measurement
from ..records.metric_constants import protocol
from ..records.panel import by_extractor, ratios
from .quality import Score

FLOOR_SAMPLES = "floor_samples"


def frechet_ratio(distances: Sequence[Measurement], floors: Sequence[Measurement]) -> Score:
    """The mean of the distances, each divided by that of real images with the same extractor: 1 is as good as these."""
    return Score.of(ratios(distances, floors), **{FLOOR_SAMPLES: floors[0].samples})


@dataclass(frozen=True)
class Panel:
    """One such metric, of the extractors of these names."""

    metric: Metric
    extractors: tuple[str, ...]

    def measure(self, measured: Sequence[Measurement], floors: Sequence[Measurement]) -> Measurement:
        """From what was measured of samples, and of real images. Raises `BadValue` where an extractor has no floor."""
        found, real = by_extractor(measured), by_extractor(floors)
        if missing := [name for name in self.extractors if name not in real or real[name].value <= 0]:
            raise BadValue(f"Metric {self.metric.name!r}: real images have no distance above 0 with {missing[0]!r}.")
        first, score = found[self.extractors[0]], self._score(found, real)
        same = {name: value for name, value in first.settings.items() if name == "precision"}
        return self._like(first, score, {**score.settings, **same})

    def floor(self, floors: Sequence[Measurement]) -> Measurement | None:
        """What real images score, as the other floors have it; None where they were not drawn several times."""
        real = by_extractor(floors)
        draws = zip(*(real[name].raw.get("values", ()) for name in self.extractors), strict=False)
        of_draws = [dict(zip(self.extractors, values, strict=True)) for values in draws]
        as_found = [{name: _worth(real[name], value) for name, value in draw.items()} for draw in of_draws]
        if not as_found:
            return None
        first = real[self.extractors[0]]
        return self._like(
            first, Score.of({"values": [self._score(one, real).value for one in as_found]}), first.settings
        )

    def _score(self, found: Mapping[str, Measurement], real: Mapping[str, Measurement]) -> Score:
        both = ([of[name] for name in self.extractors] for of in (found, real))
        return load(self.metric.measure)(*both)  # type: ignore[no-any-return]

    def _like(self, first: Measurement, score: Score, settings: Mapping[str, Value]) -> Measurement:
        """A measurement of as many images as that of the first extractor."""
        return first.model_copy(
            update={
                "protocol": protocol(self.metric.name, first.samples, "+".join(self.extractors)),
                "metric": self.metric.name,
                "value": score.value,
                "spread": score.spread,
                "higher_is_better": self.metric.higher_is_better,
                "features_sha256": None,
                "settings": dict(settings),
                "raw": {kind: list(numbers) for kind, numbers in score.raw.items()},
            }
        )


def _worth(floor: Measurement, value: float) -> Measurement:
    """The distance of one draw of real images."""
    return floor.model_copy(update={"value": value, "raw": {}})
