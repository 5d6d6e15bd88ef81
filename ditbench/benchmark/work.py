"""A run's work, which a plugin's network takes part in: training, and drawing samples. Nothing is measured here."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import torch
from safetensors.torch import save_file
from torch import nn

from ..asking import Died, Stalled, ask
from ..components import Value, load
from ..datasets.loading import Feed
from ..denoiser.cost import check_outside, cost_of
from ..denoiser.fingerprint import fingerprint
from ..errors import BadFile, DitbenchError, brief
from ..records.denoising import POINTS, ErrorPoint
from ..records.facts import Cost, Memory, Milestone, PeakMemory, TrainingFacts, Work
from ..records.files import MILESTONES_FILE, POINTS_FILE, RAW_WEIGHTS_FILE, WEIGHTS_FILE
from ..records.fingerprint import Fingerprint
from ..registry import Registry
from ..runtime.clock import RUNNING
from ..runtime.distributed import ALONE, World
from ..runtime.fsdp import gather
from ..runtime.memory import keep_what_is_freed, peak_memory, reset_peak, resident
from ..runtime.precision import resolve as resolve_precision
from ..runtime.progress import Diverged, Progress, Watch
from ..sampling.samples import discard, draw
from ..storage.files import exists, write_atomically, write_text
from ..storage.reading import read_bytes
from ..storage.schema import first_fault
from ..tracks.budget import Budget, BudgetClock
from ..tracks.config import EMA_LENGTHS, RunConfig
from ..training.checkpoint import Checkpoints
from ..training.fitting import FLOAT, SECONDS
from ..training.loop import train
from ..training.replay import finite_in_float32
from ..training.trainer import Trainer
from .denoising import CURVES, Which, write_errors
from .room import told_of_room, told_of_room_to_sample
from .setup import Parts, build, build_to_train, drawing_of, load_denoiser, resolve
from .snapshots import SnapshotFacts, prepare, shares, write_snapshot

RAW = "raw"  # the stem of the raw weights' samples
_AGAIN = "diverged; those from the last checkpoint to it are done again, to try it in float32"
_IN_FLOAT32 = {  # by whether the loss that diverged in bfloat16 is finite there; None: not known
    True: ' in bfloat16; in float32 it is finite at the same weights and batch: precision = "float32" in the recipe',
    False: ", in float32 as in bfloat16",
    None: ' in bfloat16; precision = "float32" in the recipe may help',
}
_logger = logging.getLogger(__name__)
_Milestones, _Points = pydantic.TypeAdapter(list[Milestone]), pydantic.TypeAdapter(list[ErrorPoint])
Item = TypeVar("Item")


def stem_at(share: float) -> str:
    """What the files of samples are called that were drawn at a share of the budget."""
    return f"at-{share * 100:g}-percent"


@RUNNING.watched()
def work(config: RunConfig, directory: Path, registry: Registry, watch: Watch, world: World = ALONE) -> Work:
    """Train one run in its directory and draw all samples that it asks for, going on from what the directory holds.

    Leaves ``curve.jsonl``, ``ema.safetensors``, ``raw.safetensors`` and, to be measured by whoever asked for the work,
    files of samples. Raises `Diverged` or `Interrupted`.
    """
    parts = resolve(config, registry)
    known_by = _fingerprint(config, parts) if world.main else None
    worker = _Worker(config, parts, directory, watch, world)
    at_start = resident()
    ema, cost, training, training_peak = worker.train()
    sampling_peak = worker.sample(ema)
    if config.raw_weights:
        worker.draw(worker.loaded(RAW_WEIGHTS_FILE), RAW)
    denoising_seconds = worker.denoise(ema)
    at_start = min(at_start, training_peak.resident or at_start)  # Linux counts pages in batches, a peak's less often
    memory = Memory(resident_at_start=at_start, training=training_peak, sampling=sampling_peak)
    return Work(
        cost=cost,
        training=training,
        memory=memory,
        reached=worker.reached(),
        fingerprint=known_by,
        denoising_seconds=denoising_seconds,
        points=worker.points(),
    )


def _fingerprint(config: RunConfig, parts: Parts) -> Fingerprint:
    """What the run's network does, told by a process of its own, so that nothing of the run is another for it.

    One that can't do it on a CPU says so in the record.
    """
    try:
        return Fingerprint.model_validate(ask(_told_apart, parts, config.settings, seconds=SECONDS))
    except pydantic.ValidationError:
        return Fingerprint(missing="its numbers are not finite")
    except (Died, Stalled) as fault:
        return Fingerprint(missing=brief(str(fault)))
    except DitbenchError as fault:  # of a message that is the plugin's only the kind: it may name paths
        return Fingerprint(missing=brief(str(fault).partition(":")[0]))


def _told_apart(parts: Parts, settings: Mapping[str, Value | None]) -> dict[str, Any]:
    torch.set_num_threads(1)  # a fork has no other, and would wait for them
    return fingerprint(partial(load(parts.architecture.build), parts.spec, **settings), parts.spec)


@RUNNING.watched()
def draw_again(config: RunConfig, directory: Path, registry: Registry, watch: Watch, ema: bool, raw: bool) -> None:
    """The samples of a finished run's weights, of which nothing was kept. `BadFile` if the weights are gone."""
    worker = _Worker(config, resolve(config, registry), directory, watch)
    if ema:
        worker.draw(worker.loaded(WEIGHTS_FILE))
    if raw:
        worker.draw(worker.loaded(RAW_WEIGHTS_FILE), RAW)


class _Worker:
    """Does the work of one run; several processes do it together."""

    def __init__(self, config: RunConfig, parts: Parts, directory: Path, watch: Watch, world: World = ALONE) -> None:
        self.config, self.parts, self.directory, self.watch, self.world = config, parts, directory, watch, world
        self._noted: set[str] = set()  # stems of the errors that are in files
        keep_what_is_freed()

    def train(self) -> tuple[nn.Module, Cost, TrainingFacts, PeakMemory]:
        """Train to the end of the budget and write both weights: the EMA network, and what it took.

        All else is freed on return. A loss that diverged in bfloat16 is looked at in float32, too.
        """
        try:
            return self._train()
        except Diverged as error:
            told, step = str(error), error.step
        raise Diverged(told + self._in_float32(step))  # here, where the network is no longer in any frame

    def _train(self) -> tuple[nn.Module, Cost, TrainingFacts, PeakMemory]:
        config, device = self.config, self.parts.device
        with self._trainer() as (trainer, cost), told_of_room(config.recipe, device, self.world.size):
            evaluate = partial(self._at_milestone, trainer)
            how = (config.hash, config.checkpoint_seconds, self.watch, config.eval_at, evaluate)
            few = self.parts.denoising is not None and config.track.evaluation.denoised_on_the_way
            look = (POINTS if few else (), partial(self._at_point, trainer))
            train(trainer, self.directory, *how, *look, self._snapshots(trainer), partial(self._at_snapshot, trainer))
        facts, peak = trainer.facts(), trainer.peak.less(trainer.power.bytes)  # as of a run that keeps no snapshots
        self._write_weights(RAW_WEIGHTS_FILE, self._whole(trainer.denoiser))
        ema = self._whole(trainer.ema)
        self._write_weights(WEIGHTS_FILE, ema)
        return ema, cost, facts, peak

    @contextmanager
    def _trainer(self) -> Iterator[tuple[Trainer, Cost]]:
        """One at the run's start, on a device whose peaks begin anew, and what its network costs."""
        config, parts, world = self.config, self.parts, self.world
        reset_peak(parts.device)
        denoiser, rates = build_to_train(parts, config)
        cost = cost_of(denoiser, parts.spec)
        check_outside(cost, config.trained_with, config.label)
        flops = cost.training_flops(config.flops_rule)
        on_gpu = parts.device.type == "cuda"
        clock = BudgetClock(Budget.parse(config.budget), flops, gpus=world.size if on_gpu else 0)
        with closing(Feed(parts.data, config.track.data, config.seed, parts.device, world.rank, world.size)) as feed:
            about = (parts.spec, parts.objective, config.recipe, clock, feed, config.seed, parts.device)
            counted, lengths = cost.training_macs_per_image, EMA_LENGTHS[: config.averages]
            yield Trainer(denoiser, *about, world=world, counted=counted, rates=rates, lengths=lengths), cost

    def _in_float32(self, step: int | None) -> str:
        """What float32 makes of the step that diverged, in words, if the run computes in bfloat16."""
        if resolve_precision(self.config.recipe.precision, self.parts.device) != "bfloat16":
            return ""
        finite = None
        if step is not None and self.world.size == 1:
            self.watch.report(Progress("train", 1.0, step, remark=f"step {step + 1} {_AGAIN}"))
            try:
                saved = Checkpoints(self.directory, self.config.hash).latest()
                with self._trainer() as (trainer, _):
                    finite = finite_in_float32(trainer, saved, step, self.watch)
            except Exception:  # whatever it is, the run has diverged
                _logger.warning("It can't be told what float32 makes of the step that diverged.", exc_info=True)
        return _IN_FLOAT32[finite]

    def sample(self, ema: nn.Module) -> PeakMemory:
        """Draw the run's samples: what memory that took."""
        reset_peak(self.parts.device)
        self.draw(ema)
        return peak_memory(self.parts.device) if self.parts.device.type == "cuda" else PeakMemory()

    def draw(self, denoiser: nn.Module, stem: str = "samples", training: bool = False) -> None:
        """The track's samples, and the denoiser's errors if it asks for them, into files of this stem.

        training: this goes on afterwards.
        """
        drawing = drawing_of(self.config, self.parts)
        with told_of_room_to_sample(drawing.batch_size, drawing.device, training):
            draw(drawing, denoiser, self.directory, self.watch, stem, self.world)
            self._note_errors(denoiser, stem)

    def denoise(self, ema: nn.Module) -> float:
        """The errors that were not found with samples, of both weights: the seconds that these took."""
        if self.parts.denoising is None:
            return 0.0
        began, networks = RUNNING(), {"ema": ema, "raw": self.loaded(RAW_WEIGHTS_FILE)}
        for stem, weights, which in CURVES:
            if stem not in self._noted:
                self._note_errors(networks[weights], stem, which)
        return RUNNING() - began

    def _note_errors(self, denoiser: nn.Module, stem: str, which: Which = "held-out") -> None:
        """Every process finds them, as shards of a network need; the main one writes."""
        if self.parts.denoising is None:
            return
        errors = self.parts.denoising.errors(denoiser, which)
        self._noted.add(stem)
        if self.world.main:
            write_errors(errors, self.directory, stem)

    def loaded(self, weights: str) -> nn.Module:
        """The network with a file's weights."""
        path = self.directory / weights
        if not path.exists():
            raise BadFile(f"{self.directory.name!r} has no {weights} to sample; train it again with `force`.")
        return load_denoiser(self.config, self.parts, path)

    def reached(self) -> list[Milestone]:
        """The milestones so far."""
        return self._read(MILESTONES_FILE, _Milestones)

    def points(self) -> list[ErrorPoint]:
        """The EMA's errors on the way, so far."""
        return self._read(POINTS_FILE, _Points)

    def _read(self, name: str, kind: pydantic.TypeAdapter[list[Item]]) -> list[Item]:
        path = self.directory / name
        if not exists(path):
            return []
        try:
            return kind.validate_json(read_bytes(path, f"file of {path.stem}"))
        except pydantic.ValidationError as error:
            raise BadFile(f"{name!r} in {self.directory.name!r} is wrong: {first_fault(error)}.") from None

    def _whole(self, network: nn.Module) -> nn.Module:
        """The network itself, which every process has; of a sharded one, a copy that every process has."""
        if not self.world.sharded:
            return network
        return gather(network, build(self.parts, self.config).to(self.parts.device)).eval()

    def _write_weights(self, name: str, network: nn.Module) -> None:
        if not self.world.main:
            return
        weights = {key: tensor.contiguous().cpu() for key, tensor in network.state_dict().items()}
        write_atomically(self.directory / name, lambda temporary: save_file(weights, temporary))

    def _at_milestone(self, trainer: Trainer, at: float, now: bool) -> None:
        """Draw samples of the EMA weights as they are now, unless an earlier process did.

        `BadFile` if training has gone on. Samples that are not finite are none, which may pass.
        """
        done = self.world.from_main(self.reached() if self.world.main else [])
        if self.parts.scoring is None or any(milestone.at == at for milestone in done):
            return
        if not now:
            raise BadFile(f"{self.directory.name!r} is past {at:.3g} of its budget; `force` trains it again.")
        try:
            self.draw(self._whole(trainer.ema), stem_at(at), training=True)
        except Diverged:  # of which some batches may have been drawn
            if self.world.main:
                discard(self.directory, stem_at(at))
        found = Milestone(at=at, **_spent(trainer), metrics=[])
        if self.world.main:
            write_text(self.directory / MILESTONES_FILE, _Milestones.dump_json([*done, found], indent=1).decode())

    def _at_point(self, trainer: Trainer, at: float, now: bool) -> None:
        """Note the EMA's error on a few images, now that training is at a share of the budget, and not past it."""
        asked = self.parts.denoising
        if asked is None or not now:
            return
        try:
            errors = asked.errors(self._whole(trainer.ema), images=self.config.track.evaluation.denoised_on_the_way)
        except Diverged:  # which may pass
            return
        found = ErrorPoint(at=at, **_spent(trainer), errors=[float(f"{error:.6g}") for error in errors.mean(0)])
        if self.world.main:
            kept = [point for point in self.points() if point.at < at]  # those after it are of before a checkpoint
            write_text(self.directory / POINTS_FILE, _Points.dump_json([*kept, found], indent=1).decode())

    def _snapshots(self, trainer: Trainer) -> list[float]:
        """The shares of the budget at which to take them, now that there is a folder for them."""
        count = self.config.ema_snapshots
        if count and self.world.main:
            prepare(self.directory, count, sum(FLOAT * tensor.numel() for tensor in trainer.power.tensors().values()))
        return shares(count)

    def _at_snapshot(self, trainer: Trainer, at: float, now: bool) -> None:
        """Keep the power-function averages as they are now, unless training is past the share, when they are kept."""
        if not now:
            return
        tensors, clock = trainer.power.gathered(), trainer.clock
        if self.world.main:
            of = {"run": self.config.hash, "lengths": EMA_LENGTHS, "time": clock.progress, "steps": clock.steps}
            write_snapshot(self.directory, at, tensors, SnapshotFacts.model_validate(of))


def _spent(trainer: Trainer) -> dict[str, Any]:
    """What training has taken so far."""
    return {name: getattr(trainer.clock, name) for name in ("steps", "images", "seconds", "flops")}
