"""What a run needs at its end, tried with a few images before its start: metrics, floors, the samples' files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

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
from ..runtime.precision import products
from ..sampling.generate import labels_of
from ..sampling.pictures import write_grid, write_samples
from ..tracks.config import RunConfig
from .setup import Parts, drawing_of

_COUNT = MIN_JACKKNIFED  # images: as many as each part of a metric's code needs to be run
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
    pixels = np.random.default_rng(_DRAW).integers(0, 256, (_COUNT, *parts.image_shape), np.uint8)
    labels = labels_of(drawing_of(config, parts).plan, np.arange(_COUNT), parts.spec.classes)
    _try_files(config, parts, pixels, labels)
    if parts.scoring is None:
        return
    seen = {name: _see(network, pixels[:_SEEN], parts.device) for name, network in networks.items()}
    for metric, extractor in parts.scoring.metrics:
        outputs = seen[extractor.name]
        parts.scoring.source.check_widths({name: found.shape[1] for name, found in outputs.items()}, extractor.name)
        scoring = replace(parts.scoring, metrics=((metric, extractor),))
        _try_metric(scoring, outputs, real[extractor.name], (pixels, labels))


@torch.inference_mode()
def _see(network: nn.Module, pixels: Bytes, device: torch.device) -> dict[Output, Tensor]:
    with products("float32"):
        return {name: output.float().cpu() for name, output in network(torch.from_numpy(pixels).to(device)).items()}


def _try_files(config: RunConfig, parts: Parts, pixels: Bytes, labels: Labels) -> None:
    with TemporaryDirectory() as folder:
        try:
            if pixels.shape[1] in (1, 3):
                write_grid(Path(folder) / "grid.png", pixels, labels, parts.data.class_names)
            if config.keep_samples:
                write_samples(Path(folder) / "samples.npz", pixels, labels)
        except (ValueError, IndexError, KeyError) as error:
            raise BadValue(f"The samples of {parts.data.name!r} can't be shown ({one_line(error)}).") from error


def _try_metric(scoring: Scoring, seen: dict[Output, Tensor], real: Real, samples: tuple[Bytes, Labels]) -> None:
    """The one metric of a scoring. What fails on narrowed outputs alone is no fault."""
    ((metric, extractor),) = scoring.metrics
    for width in (_WIDTH, None):
        few = {extractor.name: _few(real, width)}
        try:
            scoring.measure({extractor.name: _StandIn(seen, width)}, few, *samples, torch.device("cpu"))
            scoring.floors(few)
        except DitbenchError:
            raise
        except Exception as error:  # a metric's own code, which may be anybody's, would end the run with it
            if width is None:
                reason = one_line(error) or type(error).__name__
                raise BadValue(
                    f"Metric {metric.name!r} can't be measured on {scoring.data.name!r} ({reason}): leave it out of "
                    "the track, or mend its plugin."
                ) from error
        else:
            return


def _few(real: Real, width: int | None) -> Real:
    """The first of the real images, for samples and for their floors."""
    held_out = None if real.held_out is None else _first(real.held_out, width)
    return Real(Reference(real.reference.sha256, _first(real.reference.features, width)), held_out)


def _first(features: Features, width: int | None) -> Features:
    count = 2 * _COUNT  # floors are of halves
    return Features(
        min(features.count, count),
        {name: _narrow(name, output[:count], width) for name, output in features.outputs.items()},
        {name: _narrowed(name, moments, width) for name, moments in features.moments.items()},
        None if features.pixels is None else features.pixels[:count],
        None if features.labels is None else features.labels[:count],
    )


def _narrow(name: Output, output: Tensor, width: int | None) -> Tensor:
    return output[:, :width] if name in _NARROWED else output


def _narrowed(name: Output, moments: Moments, width: int | None) -> Moments:
    if name not in _NARROWED:
        return moments
    return Moments(moments.count, moments.mean[:width], moments.covariance[:width, :width])
