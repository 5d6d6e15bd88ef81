"""What a run needs at its end, tried with a few images before its start: metrics, floors, the samples' files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..components import Output
from ..datasets.examples import Labels
from ..datasets.pixels import Bytes
from ..errors import BadValue, DitbenchError, one_line
from ..metrics.features import Features, Moments
from ..metrics.reference import Reference
from ..metrics.scoring import Networks, Real, Scoring
from ..records.metric_constants import MIN_JACKKNIFED
from ..runtime.precision import computing
from ..sampling.pictures import write_grid, write_samples
from ..sampling.walking import labels_of
from ..storage.files import temporary_folder
from ..tracks.config import RunConfig
from .setup import Parts, drawing_of

_COUNT = MIN_JACKKNIFED  # images: as many as each part of a metric's code needs to be run
_MORE = 1000  # for a metric that can't do with so few, if the track draws so many
_SEEN = 2  # images that an extractor is run on; what it says of them stands for all
_WIDTH = 32  # numbers of an output that are enough to try a metric, and quick
_NARROWED: tuple[Output, ...] = ("features", "spatial")
_DRAW = 0x7E57


class _StandIn(nn.Module):
    """Says of any images what a network says of two, with a little noise, so that no two are equal."""

    def __init__(self, seen: dict[Output, Tensor], width: int | None) -> None:
        super().__init__()
        self.found = {name: _narrow(name, output, width) for name, output in seen.items()}
        self.draw = torch.Generator().manual_seed(_DRAW)

    def forward(self, pixels: Tensor) -> dict[Output, Tensor]:
        turns = torch.arange(len(pixels)) % _SEEN
        return {name: self._noisy(output[turns]) for name, output in self.found.items()}

    def _noisy(self, output: Tensor) -> Tensor:
        return output + 0.01 * (1 + output.abs()) * torch.randn(output.shape, generator=self.draw)


def rehearse(config: RunConfig, parts: Parts, networks: Networks, real: Mapping[str, Real]) -> None:
    """Try all that comes after training; `BadValue` names the metric, or what else would fail, and why.

    real: what the networks make of the real images, of which some are taken. Metrics run by their own code on narrowed
    outputs; one that can't do with these is tried on whole ones.
    """
    pixels, labels = _samples(config, parts, _COUNT)
    _try_files(config, parts, pixels, labels)
    if parts.scoring is None:
        return
    more = min(_MORE, config.track.evaluation.samples)
    with computing(parts.scoring.precision, parts.device):
        seen = {name: _see(network, pixels[:_SEEN], parts.device) for name, network in networks.items()}
    for metric, extractor in parts.scoring.metrics:
        outputs = seen[extractor.name]
        parts.scoring.source.check_widths({name: found.shape[-1] for name, found in outputs.items()}, extractor.name)
        scoring = replace(parts.scoring, metrics=((metric, extractor),), panels=())
        _try_metric(scoring, outputs, real[extractor.name], lambda count: _samples(config, parts, count), more)


def _samples(config: RunConfig, parts: Parts, count: int) -> tuple[Bytes, Labels]:
    """Noise in place of samples, (count, [F,] C, H, W), with the labels that these would have."""
    pixels = np.random.default_rng(_DRAW).integers(0, 256, (count, *parts.image_shape), np.uint8)
    return pixels, labels_of(drawing_of(config, parts).plan, np.arange(count), parts.spec.classes)


@torch.inference_mode()
def _see(network: nn.Module, pixels: Bytes, device: torch.device) -> dict[Output, Tensor]:
    return {name: output.float().cpu() for name, output in network(torch.from_numpy(pixels).to(device)).items()}


def _try_files(config: RunConfig, parts: Parts, pixels: Bytes, labels: Labels) -> None:
    with temporary_folder() as folder:
        try:
            if pixels.shape[-3] in (1, 3):
                write_grid(folder / "grid.png", pixels, labels, parts.data.class_names)
            if config.keep_samples:
                write_samples(folder / "samples.npz", pixels, labels)
        except (ValueError, IndexError, KeyError) as error:
            raise BadValue(f"The samples of {parts.data.name!r} can't be shown ({one_line(error)}).") from error


def _try_metric(
    scoring: Scoring,
    seen: dict[Output, Tensor],
    real: Real,
    samples: Callable[[int], tuple[Bytes, Labels]],
    more: int,
) -> None:
    """The one metric of a scoring. What fails on narrowed outputs, or on few images, alone is no fault."""
    ((metric, extractor),) = scoring.metrics
    last: Exception | None = None
    for width, count in dict.fromkeys(((_WIDTH, _COUNT), (None, _COUNT), (None, more))):
        few = {extractor.name: _few(real, width, 2 * count)}  # floors are of halves
        try:
            scoring.measure({extractor.name: _StandIn(seen, width)}, few, *samples(count), torch.device("cpu"))
            scoring.floors(few, count)
        except Exception as error:  # a metric's own code, which may be anybody's, would end the run with it
            last = error
        else:
            return
    if isinstance(last, DitbenchError):
        raise last
    reason = one_line(last) or type(last).__name__
    raise BadValue(
        f"Metric {metric.name!r} can't be measured on {scoring.data.name!r} ({reason}): leave it out of the track, or "
        "mend its plugin."
    ) from last


def _few(real: Real, width: int | None, count: int) -> Real:
    """Some of the real images, for samples and for their floors."""
    held_out = None if real.held_out is None else _some(real.held_out, width, count)
    return Real(Reference(real.reference.sha256, _some(real.reference.features, width, count)), held_out)


def _some(features: Features, width: int | None, count: int) -> Features:
    """So many of what is kept, from all over: folders are sorted by class."""

    def some(kept: Any) -> Any:
        return kept if len(kept) <= count else kept[np.linspace(0, len(kept) - 1, count).astype(np.int64)]

    return Features(
        min(features.count, count),
        {name: _narrow(name, some(output), width) for name, output in features.outputs.items()},
        {name: _narrowed(name, moments, width) for name, moments in features.moments.items()},
        None if features.pixels is None else some(features.pixels),
        None if features.labels is None else some(features.labels),
    )  # on the CPU, whatever theirs is


def _narrow(name: Output, output: Tensor, width: int | None) -> Tensor:
    return output[..., :width] if name in _NARROWED else output


def _narrowed(name: Output, moments: Moments, width: int | None) -> Moments:
    if name not in _NARROWED:
        return moments
    return Moments(moments.count, moments.mean[:width], moments.covariance[:width, :width])
