"""A run's samples against real images: the track's metrics, and what real images score that were not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ..components import Extractor, Metric
from ..datasets.examples import Data, Labels
from ..datasets.pixels import Bytes
from ..records.facts import Measurement
from ..runtime.distributed import ALONE, World
from ..runtime.precision import Precision
from ..runtime.progress import Progress, ProgressCallback
from .features import BATCH_SIZE, Clips, Features, check_shape, extract, load_extractor
from .panel import Panel
from .quality import floors, measure_all, outputs_for
from .reference import Reference, ReferenceSource, source_of

Networks = Mapping[str, nn.Module]  # by the extractor's name


@dataclass(frozen=True, eq=False)
class Real:
    """What one extractor makes of the real images."""

    reference: Reference
    held_out: Features | None


@dataclass(frozen=True, eq=False)
class Scoring:
    """What to measure, and against what."""

    metrics: tuple[tuple[Metric, Extractor], ...]
    source: ReferenceSource
    data: Data
    precision: Precision = "float32"  # of the extractors
    panels: tuple[Panel, ...] = ()  # of these metrics' distances
    interval: int = 1  # frames of the source from one of a clip to the next

    def load_networks(self, device: torch.device) -> dict[str, nn.Module]:
        """The extractors' networks; `DitbenchError` if their weights are missing or are others."""
        extractors = {extractor.name: extractor for _, extractor in self.metrics}
        return {name: load_extractor(extractor, device=device) for name, extractor in extractors.items()}

    def check_shape(self, image_shape: tuple[int, ...]) -> None:
        """`BadValue` if an extractor does not understand the samples, or they are not of the reference's size."""
        for _, extractor in self.metrics:
            check_shape(extractor, image_shape)
        self.source.check_shape(image_shape)

    def read(
        self, networks: Networks, device: torch.device, report: ProgressCallback = lambda progress: None
    ) -> dict[str, Real]:
        """What the networks make of the real images, from the cache if it has been there before."""
        return {name: self._read(name, network, device, report) for name, network in networks.items()}

    def _read(self, name: str, network: nn.Module, device: torch.device, report: ProgressCallback) -> Real:
        extractor, metrics = self._by_extractor()[name]
        of_all = self.source.images.count if self.source.images else 0

        def told(done: int) -> None:
            report(Progress("reference", done / max(1, of_all), done))

        real = self.source.read(extractor, network, metrics, device, report=told, precision=self.precision)
        real = replace(real, features=replace(real.features, clips=self._clips(self.source.split)))
        if any(metric.sees == "pixels" for metric in metrics):
            pixels, labels = self._training_pixels()
            real = replace(real, features=replace(real.features, pixels=pixels, labels=labels))
        return Real(real, self._read_held_out(extractor, network, metrics, device))

    def _read_held_out(
        self, extractor: Extractor, network: nn.Module, metrics: list[Metric], device: torch.device
    ) -> Features | None:
        aside = self.data.held_out
        if aside is None:
            return None
        found = source_of(aside).read(extractor, network, metrics, device, precision=self.precision).features
        found = replace(found, clips=self._clips("held-out"))
        if self.data.held_out_labels is None or not any(metric.sees == "pixels" for metric in metrics):
            return found
        pixels = np.concatenate(list(aside.batches(BATCH_SIZE)))
        return replace(found, pixels=pixels, labels=self.data.held_out_labels)

    def _clips(self, split: str = "") -> Clips | None:
        """What is told of clips, of the real ones with their split; None of images."""
        frames = self.data.examples.frames
        return Clips(frames, self.interval, split) if frames > 1 else None

    def _training_pixels(self) -> tuple[Bytes, Labels]:
        examples = self.data.examples
        return examples.rows[np.arange(len(examples)) * examples.views], examples.labels

    def measure(
        self,
        networks: Networks,
        real: Mapping[str, Real],
        pixels: Bytes,
        labels: Labels,
        device: torch.device,
        report: ProgressCallback = lambda progress: None,
        world: World = ALONE,
    ) -> list[Measurement]:
        """The metrics of samples (N, C, H, W), which may be mapped, against the real images, in the track's order.

        Several processes share the networks' work. The main one alone needs `real` and gets metrics.
        """
        found = {}
        for name, (extractor, metrics) in self._by_extractor().items():
            fake = extract(
                networks[name],
                (pixels[start : start + BATCH_SIZE] for start in range(0, len(pixels), BATCH_SIZE)),
                outputs_for(metrics),
                device=device,
                report=lambda done: report(Progress("measure", done / len(labels), done)),
                world=world,
                precision=self.precision,
            )
            if world.main:
                fake = replace(fake, pixels=pixels, labels=labels, clips=self._clips())
                reference = real[name].reference
                features = replace(reference.features, held_out=real[name].held_out)
                found[name] = iter(measure_all(metrics, fake, features, extractor, reference.sha256))
        measured = [(metric, next(found[of.name])) for metric, of in self.metrics if of.name in found]
        return [self._against_pixels(found) if _compares_pixels(metric) else found for metric, found in measured]

    def _against_pixels(self, found: Measurement) -> Measurement:
        """A metric of raw pixels compares with all training examples, whatever the reference is."""
        training = {"reference_samples": len(self.data.examples), "reference_sha256": self.data.sha256}
        split = {"split": "training"} if self.data.examples.frames > 1 else {}
        return found.model_copy(update={**training, "settings": {**found.settings, **split}})

    def floors(self, real: Mapping[str, Real], samples: int) -> list[Measurement]:
        """What as many real images score: random ones, against all other training and held-out images.

        Without held-out images, random halves of the others; against a reference of another kind, the held-out ones.
        """
        found = {
            name: iter(self._floors(real[name], extractor, metrics, samples))
            for name, (extractor, metrics) in self._by_extractor().items()
        }
        of_each = [floor for _, extractor in self.metrics if (floor := next(found[extractor.name], None)) is not None]
        return [*of_each, *(floor for panel in self.panels if (floor := panel.floor(of_each)) is not None)]

    def _floors(self, real: Real, extractor: Extractor, metrics: list[Metric], samples: int) -> list[Measurement]:
        reference, aside = real.reference, real.held_out
        metrics = [metric for metric in metrics if metric.against != "held-out"]
        if aside is None:
            return list(self._floors_by_halves(reference, extractor, metrics))
        possible = [metric for metric in metrics if metric.sees != "pixels" or aside.pixels is not None]
        if self.source.images is self.data.images:
            both = replace(reference.features.and_also(aside), clips=self._clips("training and held-out"))
            return floors(possible, both, extractor, reference.sha256, samples=samples)
        return [
            floor.model_copy(update={"settings": {**floor.settings, "held_out": True}})
            for floor in measure_all(possible, aside, reference.features, extractor, reference.sha256)
        ]

    def _floors_by_halves(
        self, reference: Reference, extractor: Extractor, metrics: list[Metric]
    ) -> Iterator[Measurement]:
        """Between random halves: of the real images, or for metrics of pixels, of the training images."""
        features = reference.features
        by_pixels = Features(
            len(self.data.examples), {}, pixels=features.pixels, labels=features.labels, clips=features.clips
        )
        seeing = [metric for metric in metrics if metric.sees != "pixels"] if self.source.images else []
        found = iter(floors(seeing, features, extractor, reference.sha256) if seeing else [])
        for metric in metrics:
            if metric.sees == "pixels":
                yield from floors([metric], by_pixels, extractor, self.data.sha256)
            elif seeing:
                yield next(found)

    def _by_extractor(self) -> dict[str, tuple[Extractor, list[Metric]]]:
        """The track's metrics, those of an extractor together."""
        names = {extractor.name: extractor for _, extractor in self.metrics}
        return {
            name: (extractor, [metric for metric, chosen in self.metrics if chosen is extractor])
            for name, extractor in names.items()
        }


def _compares_pixels(metric: Metric) -> bool:
    return metric.sees == "pixels" and metric.against != "nothing"
