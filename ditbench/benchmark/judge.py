"""A run's samples drawn and measured, at its end and on the way."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import pydantic
from torch import nn

from ..errors import BadFile
from ..metrics.scoring import Networks, Real
from ..records.facts import Measurement, Milestone
from ..records.files import MILESTONES_FILE
from ..runtime.distributed import ALONE, World
from ..runtime.fsdp import gather
from ..runtime.progress import Diverged, Progress, Watch
from ..sampling.pictures import write_grid
from ..sampling.samples import Samples, draw
from ..storage.files import exists, write_text
from ..storage.reading import read_bytes
from ..storage.schema import first_fault
from ..tracks.config import RunConfig
from ..training.trainer import Trainer
from .setup import Parts, build, drawing_of

_Milestones = pydantic.TypeAdapter(list[Milestone])


class Judge:
    """Draws a run's samples and measures them. Without data to compare with it has nothing to say of them.

    Several processes sample and extract features together. The real images are the main one's, as are all metrics: the
    others' are empty.
    """

    def __init__(self, config: RunConfig, parts: Parts, directory: Path, watch: Watch, world: World = ALONE) -> None:
        self.config, self.parts, self.directory, self.watch, self.world = config, parts, directory, watch, world

    @cached_property
    def _networks(self) -> Networks:
        """Loaded when they are first needed: training has the device for itself."""
        return self.parts.scoring.load_networks(self.parts.device) if self.parts.scoring else {}

    @cached_property
    def _real(self) -> Mapping[str, Real]:
        """What they make of the real images. `BadFile` if these are others than when the run was planned."""
        assert self.parts.scoring is not None
        real = self.parts.scoring.read(self._networks, self.parts.device, self.watch.report)
        if {one.reference.sha256 for one in real.values()} - {self.config.reference_sha256}:
            raise BadFile("The reference changed after this run was planned; give the command again.")
        return real

    def draw(self, denoiser: nn.Module, weights: Literal["ema", "raw"] = "ema", stem: str = "samples") -> Samples:
        """The track's samples, into files of this stem in the run's directory; see `samples.draw`."""
        drawing = drawing_of(self.config, self.parts)
        return draw(drawing, denoiser, weights, self.directory, self.watch, stem, self.world)

    def measure(self, samples: Samples) -> list[Measurement]:
        """The track's metrics."""
        scoring, world = self.parts.scoring, self.world
        self.watch.report(Progress("measure", 0.0))
        if scoring is None:
            return []
        against = (self._networks, self._real if world.main else {})
        of = (samples.pixels, samples.labels)
        return scoring.measure(*against, *of, self.parts.device, self.watch.report, world)

    def floors(self) -> list[Measurement]:
        """The same of real images that were not trained on."""
        return self.parts.scoring.floors(self._real) if self.parts.scoring and self.world.main else []

    def whole(self, network: nn.Module) -> nn.Module:
        """The network itself, which every process has; of a sharded one, a copy that every process has."""
        if not self.world.sharded:
            return network
        return gather(network, build(self.parts, self.config).to(self.parts.device)).eval()

    def milestones(self) -> list[Milestone]:
        """What has been measured on the way."""
        path = self.directory / MILESTONES_FILE
        if not exists(path):
            return []
        try:
            return _Milestones.validate_json(read_bytes(path, "file of milestones"))
        except pydantic.ValidationError as error:
            raise BadFile(f"{path.name!r} in {self.directory.name!r} is wrong: {first_fault(error)}.") from None

    def at_milestone(self, trainer: Trainer, at: float, now: bool) -> None:
        """Measure the EMA weights as they are now, unless an earlier process did. `BadFile` if training has gone on."""
        done = self.world.from_main(self.milestones())
        if self.parts.scoring is None or any(milestone.at == at for milestone in done):
            return
        if not now:
            raise BadFile(f"{self.directory.name!r} is past {at:.3g} of its budget; `force` trains it again.")
        metrics = self._measure_now(self.whole(trainer.ema), f"at-{at * 100:g}-percent")
        clock = trainer.clock
        found = Milestone(
            at=at,
            steps=clock.steps,
            images=clock.images,
            seconds=clock.seconds,
            flops=clock.flops,
            metrics=metrics,
        )
        if self.world.main:
            write_text(self.directory / MILESTONES_FILE, _Milestones.dump_json([*done, found], indent=1).decode())

    def _measure_now(self, denoiser: nn.Module, stem: str) -> list[Measurement]:
        """The track's metrics on the way; none if the samples are not finite, which may pass."""
        try:
            samples = self.draw(denoiser, stem=stem)
        except Diverged:
            return []
        if self.world.main:
            show(samples, self.parts, self.directory / f"{stem}.png")
        metrics = self.measure(samples)
        if self.world.main:
            samples.discard()
        return metrics


def show(samples: Samples, parts: Parts, path: Path) -> None:
    """The grid of samples; what is neither grey nor RGB has no picture."""
    if samples.pixels.shape[1] in (1, 3):
        write_grid(path, samples.pixels, samples.labels, parts.data.class_names)
