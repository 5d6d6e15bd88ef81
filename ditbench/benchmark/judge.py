"""A run's samples measured, by a process in which no plugin's network has ever been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..errors import BadFile
from ..metrics.scoring import Networks, Real
from ..records.denoising import Denoising as DenoisingFacts
from ..records.facts import Measurement, Milestone, Work
from ..runtime.distributed import ALONE, World
from ..runtime.progress import Interrupted, Progress, Watch
from ..sampling.pictures import write_grid
from ..sampling.samples import Samples, are_drawn, samples_in
from ..tracks.config import RunConfig
from .denoising import CURVES, error_curve, read_errors
from .setup import Parts, drawing_of
from .work import stem_at


class Judge:
    """Measures the samples in a run's directory. Without data to compare with it has nothing to say of them.

    Several processes extract features together. The real images are the main one's, as are all metrics: the others' are
    empty.
    """

    def __init__(self, config: RunConfig, parts: Parts, directory: Path, watch: Watch, world: World = ALONE) -> None:
        self.config, self.parts, self.directory, self.watch, self.world = config, parts, directory, watch, world

    @cached_property
    def _networks(self) -> Networks:
        return self.parts.scoring.load_networks(self.parts.device) if self.parts.scoring else {}

    @cached_property
    def _real(self) -> Mapping[str, Real]:
        """What they make of the real images. `BadFile` if these are others than when the run was planned."""
        assert self.parts.scoring is not None
        real = self.parts.scoring.read(self._networks, self.parts.device, self.watch.report)
        if {one.reference.sha256 for one in real.values()} - {self.config.reference_sha256}:
            raise BadFile("The reference changed after this run was planned; give the command again.")
        return real

    def samples(self, weights: Literal["ema", "raw"] = "ema", stem: str = "samples") -> Samples:
        """What the run has drawn into files of this stem."""
        return samples_in(drawing_of(self.config, self.parts), weights, self.directory, stem)

    def measure(self, samples: Samples) -> list[Measurement]:
        """The track's metrics. Raises `Interrupted` before it begins, if it should stop."""
        if any(self.world.all(self.watch.should_stop())):
            raise Interrupted("stopped on request")
        self.watch.report(Progress("measure", 0.0))
        if self.parts.scoring is None:
            return []
        against = (self._networks, self._real if self.world.main else {})
        of = (samples.pixels, samples.labels)
        of_samples = self.parts.scoring.measure(*against, *of, self.parts.device, self.watch.report, self.world)
        return self._in_order(of_samples, samples.stem) if self.world.main else []

    def denoising(self, work: Work) -> DenoisingFacts | None:
        """The curves behind metrics that see the denoiser, of both weights, on held-out and on training images."""
        asked = self.parts.denoising
        if asked is None or not self.world.main:
            return None
        curves = [
            error_curve(weights, images, read_errors(self.directory, stem, asked.images))
            for stem, weights, images in CURVES
        ]
        few = min(self.config.track.evaluation.denoised_on_the_way, asked.images)
        return DenoisingFacts(
            images=asked.images,
            labelled=asked.labelled,
            curves=curves,
            seconds=round(work.denoising_seconds, 3),
            points=work.points,
            points_images=few if work.points else 0,
        )

    def _in_order(self, of_samples: list[Measurement], stem: str) -> list[Measurement]:
        """The metrics as the track names them, with those of the denoiser and those of several extractors."""
        found = [*self._of_denoiser(stem), *self._of_distances(of_samples)]
        apart = {name: iter([one for one in found if one.metric == name]) for name in {one.metric for one in found}}
        rest = iter(of_samples)
        return [next(apart.get(name, rest)) for name, _ in self.config.track.evaluation.choices]

    def _of_denoiser(self, stem: str) -> Iterator[Measurement]:
        if (asked := self.parts.denoising) is not None:
            yield from asked.measure(read_errors(self.directory, stem, asked.images))

    def _of_distances(self, of_samples: list[Measurement]) -> Iterator[Measurement]:
        for panel in self.parts.scoring.panels if self.parts.scoring else ():
            yield panel.measure(of_samples, self.floors)

    @cached_property
    def floors(self) -> list[Measurement]:
        """The metrics of as many real images."""
        if self.parts.scoring is None or not self.world.main:
            return []
        return self.parts.scoring.floors(self._real, self.config.track.evaluation.samples)

    def milestones(self, reached: list[Milestone]) -> list[Milestone]:
        """With their metrics; without any where no samples could be drawn."""
        return [milestone.model_copy(update={"metrics": self._on_the_way(milestone.at)}) for milestone in reached]

    def _on_the_way(self, at: float) -> list[Measurement]:
        stem = stem_at(at)
        if not are_drawn(self.directory, stem):
            return []
        samples = self.samples(stem=stem)
        self.show(samples, self.directory / f"{stem}.png")
        return self.measure(samples)

    def show(self, samples: Samples, path: Path) -> None:
        """The grid of samples; what is neither grey nor RGB has no picture."""
        if self.world.main and samples.pixels.shape[-3] in (1, 3):
            write_grid(path, samples.pixels, samples.labels, self.parts.data.class_names)
