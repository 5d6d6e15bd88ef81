"""One training step after the other: the track's recipe on any denoiser, with EMA, label dropout and exact resume.

Every random draw of a step is a function of (seed, step): the generators are seeded anew at each step, so
there is no RNG state to save, and architectures that draw differently still see the same images, labels,
times and (first) noise at the same step. Likewise the batch of a step is a function of (seed, images seen).
Several processes take a part each of a batch and of its draws.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..datasets.loading import Feed
from ..denoiser.cost import check_counted
from ..denoiser.guard import Guard, Spots
from ..denoiser.interface import loss_of
from ..denoiser_spec import DenoiserSpec
from ..records.curve import Curve, StepTimes
from ..records.derived import training_rate
from ..records.facts import CurvePoint, PeakMemory, TrainingFacts
from ..runtime.clock import RUNNING, Pauses
from ..runtime.compiling import CompileWatch, compile_network, compiling, way_of
from ..runtime.distributed import ALONE, World, share
from ..runtime.memory import peak_memory, reset_peak
from ..runtime.precision import Precision, autocast, products, resolve
from ..runtime.progress import Diverged
from ..tracks.budget import BudgetClock
from ..tracks.recipe import Recipe
from .averages import PowerAverages
from .checkpoint import CheckpointFacts, Saved, like
from .objectives import DiffusionObjective
from .optimizers import hidden_matrices, make_optimizer, set_rate
from .pace import Pace, Step, pace_on
from .regression import LossOfBatch, Regression
from .schedule import ema_keep, lr_factor

_RECOUNTED = 8  # images, at most
_logger = logging.getLogger(__name__)


class Trainer:
    """One run's model, optimiser, EMA, clock and curve."""

    def __init__(
        self,
        denoiser: nn.Module,
        spec: DenoiserSpec,
        objective: DiffusionObjective,
        recipe: Recipe,
        clock: BudgetClock,
        feed: Feed,
        seed: int,
        device: torch.device,
        timer: Callable[[], float] = RUNNING,
        world: World = ALONE,
        counted: int | None = None,
        pace: Pace | None = None,
        rates: Mapping[str, float] | None = None,
        lengths: Sequence[float] = (),
    ) -> None:
        """counted: multiply-accumulates per training image, which are counted again on the way; None: they aren't.

        pace: when a step's loss and time are known; by default the device's. rates: what the learning rates of
        parameters are multiplied with, by name; None: with nothing. lengths: relative ones of averages that are kept
        beside the EMA.
        """
        average = copy.deepcopy(denoiser).eval().requires_grad_(False)
        self.denoiser, self.ema = world.place(denoiser, device).train(), world.place(average, device)
        self._averages: list[Tensor] = list(self.ema.parameters())
        self._weights: list[Tensor] = list(self.denoiser.parameters())
        self._buffers = list(_buffers(self.ema, self.denoiser))
        self.power = PowerAverages(self.denoiser, lengths)
        self.spec, self.objective, self.recipe, self.seed, self.device = spec, objective, recipe, seed, device
        self.clock, self.feed, self.timer = clock, feed, timer
        scaled = None if rates is None else [rates.get(name, 1.0) for name, _ in self.denoiser.named_parameters()]
        self.optimizer = make_optimizer(recipe, self._weights, rates=scaled, matrices=hidden_matrices(self.denoiser))
        self.precision, way = resolve(recipe.precision, device), way_of(recipe.compile, device)
        self.compiled = way != "off"
        compile_network(self.denoiser, way)
        self._regression, self._pace = Regression(objective, self.compiled), pace or pace_on(device, timer)
        self._last_loss, self._asked, self._to_stop = 0.0, False, False
        self.world, self._together = world, world.wrap(self.denoiser, device)
        # torch.manual_seed costs 0.15 ms where CUDA is not in use; there, nothing but the CPU's generator matters
        self._seed_all = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed
        self._draw = torch.Generator(device)
        self.times, self.curve, self.resumed, self.damaged = StepTimes(), Curve(), 0, 0
        self.compiling = CompileWatch(timer)
        self.loading_seconds = self.checkpoint_seconds = self.evaluation_seconds = 0.0
        self._paused = Pauses() - RUNNING.pauses  # and all since then are training's
        self.before = 0.0  # progress before the last step
        self._peaks: list[PeakMemory] = []
        self._guard = Guard(self.denoiser, self.optimizer, self._weights if world.sharded else None)
        self._looking = False
        self._counted, self._counts = None if world.sharded else counted, Spots()
        self._peak_is_mine = True  # until an evaluation on a CPU, where a peak can't be reset

    def step(self) -> float:
        """One optimiser step, which advances the clock; returns the loss of the last one that is known.

        The clock counts batch, forward, backward and optimiser, but no compiling; the EMA's update comes after it. On
        CUDA a step's loss and time are known when the next one has begun, or by `settle`; then, too, `Diverged` tells
        which step it was.
        """
        self._pace.begin()
        compiled = self.compiling.seconds
        with compiling(self.compiling) if self.compiled else nullcontext(), products(self.precision):
            loss = self._optimize()
        self._pace.end(self.clock.steps, loss, self.compiling.seconds - compiled)
        self.before = self.clock.progress
        self.clock.tick(self.recipe.batch_size)
        self.settle(all_of_them=False)
        self._update_ema(self.clock.progress - self.before)
        if self._counted is not None and self._counts.due(self.clock.seconds, self.clock.done):
            self._count_again(self._counted)
        return self._last_loss

    def settle(self, all_of_them: bool = True) -> None:
        """Take in the losses and times of all steps so far, or of those that are known without waiting."""
        for step in self._pace.ended(all_of_them):
            self._take_in(step)

    def _take_in(self, step: Step) -> None:
        """One clock for all processes, the slowest's; they tell each other all there is to tell at once."""
        told = self.world.told([step.loss, step.seconds, step.compiling, float(self._asked)])
        losses, seconds, compiled, asked = zip(*told, strict=True)
        took = self._charged(max(seconds), max(compiled))
        self.times.add(step.number, took)
        self.clock.charge(took)
        self._last_loss, self._to_stop = sum(losses), any(asked)
        if not math.isfinite(self._last_loss):
            raise Diverged(f"the loss became {self._last_loss} at step {step.number + 1}", step.number)
        self.curve.losses.append(self._last_loss)

    def stops(self, asked: bool) -> bool:
        """Whether all processes are to stop, if this one was `asked`. What others were they know a step later."""
        self._asked = asked
        return asked if self.world.size == 1 else self._to_stop

    def _count_again(self, counted: int) -> None:
        """`BadValue` if images of the last step take more multiply-accumulates than were counted; on no clock."""
        self.note_peak()
        x0, y, t = self._seen
        noise = torch.randn(x0.shape, generator=self._draw, device=self.device)  # which is seeded anew at each step
        self.optimizer.zero_grad(set_to_none=True)  # makes room for the copy's gradients
        try:
            with self._counts.looking(), products(self.precision), autocast(self.precision, self.device):
                x = Regression(self.objective, compiled=False).noisy(x0, noise, t)
                check_counted(self.denoiser, counted, x, t, y)
        except torch.OutOfMemoryError:
            _logger.warning("A GPU has no room for a copy of the network: its cost was not counted again.")
        if self.device.type == "cuda":
            reset_peak(self.device)

    def _charged(self, seconds: float, compiling: float) -> float:
        """A step's time on the clock. One that compiled also tunes kernels, untold: it counts like the one before."""
        if not compiling:
            return seconds
        usual = min([seconds - compiling, *self.times.seconds[-1:]])
        self.compiling.seconds += seconds - compiling - usual
        return usual

    @property
    def paused(self) -> Pauses:
        """Times that training was stopped from outside, by this process; no clock here has counted them."""
        return RUNNING.pauses + self._paused

    def note_peak(self) -> None:
        """Remember the peaks so far, while they are those of training."""
        if self._peak_is_mine:
            self._peaks = [PeakMemory.largest([*self._peaks, peak_memory(self.device)])]

    @property
    def peak(self) -> PeakMemory:
        """The largest peaks of training, in whatever processes it went on."""
        self.note_peak()
        return self._peaks[0]

    def evaluate(self, measure: Callable[[], None], small: bool = False) -> None:
        """Let something else be done with the weights on the way; its time and memory are not training's.

        small: it takes less memory than a step, so that a peak which can't be reset stays training's.
        """
        self.settle()
        began = self.timer()
        self.note_peak()
        measure()
        reset_peak(self.device)
        self._peak_is_mine = self.device.type == "cuda" or (small and self._peak_is_mine)
        self.evaluation_seconds += self.timer() - began

    def loss_ahead(self, precision: Precision) -> float:
        """The loss that the step to come has in a precision, this process's part; nothing is learned from it."""
        usual, self.precision = self.precision, precision
        try:
            with torch.no_grad(), products(precision), torch.compiler.set_stance("force_eager"):
                return float(self._backward(*self._drawn()))
        finally:
            self.precision = usual

    def _drawn(self) -> tuple[Tensor, Tensor, Tensor, torch.Generator]:
        """Images, labels and times of the step to come, and what draws its noise."""
        own = 1 if self.world.main else 2 + self.world.rank  # for what the network draws of its own images
        self._seed_all(_step_seed(self.seed, self.clock.steps, stream=own))
        draw = self._draw.manual_seed(_step_seed(self.seed, self.clock.steps, stream=2))
        x0, y = self._batch(draw)
        return x0, y, self.objective.sample_time(self.recipe.batch_size, draw)[self._part], draw

    def _optimize(self) -> Tensor:
        """The step itself: its loss (), this process's part, which the device may have yet to find."""
        x0, y, t, draw = self._drawn()
        self._seen = x0[:_RECOUNTED], y[:_RECOUNTED], t[:_RECOUNTED]
        factor = lr_factor(self.recipe, self.clock.progress, self.clock.steps)
        set_rate(self.optimizer, self.recipe.learning_rate * factor)
        self.optimizer.zero_grad(set_to_none=True)
        done = self.clock.progress
        self._looking = self._guard.spots.due(self.clock.seconds, last=2 * done - self.before > 1 - 1e-9)
        with self._guard.surroundings() if self._looking else nullcontext():
            loss = self._backward(x0, y, t, draw)
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._weights, self.recipe.clip_norm)
        self.optimizer.step()
        return loss

    def _batch(self, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """x0 and labels, some of them replaced by the null label."""
        began = self.timer()
        x0, y = self.feed.batch(self.clock.images, self.recipe.batch_size, draw)
        self.loading_seconds += self.timer() - began
        chance = torch.rand(self.recipe.batch_size, generator=draw, device=self.device)[self._part]
        return x0, torch.where(chance < self.recipe.label_dropout, self.spec.classes, y)

    @property
    def _part(self) -> slice:
        """This process's images of a batch."""
        return self.world.share(self.recipe.batch_size)

    @property
    def _passes(self) -> int:
        """Micro-batches of a step: as many on every process, since those with shards compute together."""
        least, rest = divmod(self.recipe.batch_size, self.world.size)
        most = least + bool(rest)
        return min(math.ceil(most / (self.recipe.micro_batch or most)), least)

    def _backward(self, x0: Tensor, y: Tensor, t: Tensor, draw: torch.Generator) -> Tensor:
        """This process's part of the batch's loss, and its gradient if there is one, one micro-batch at a time."""
        noises: list[Tensor] = []  # of the whole batch, so that no image's depends on micro-batch or processes

        def noise(forward: int) -> Tensor:
            if forward == len(noises):
                whole = (self.recipe.batch_size, *x0.shape[1:])
                noises.append(torch.randn(whole, generator=draw, device=self.device)[self._part])
            return noises[forward]

        losses, passes = [], self._passes
        for number in range(passes):
            part = share(len(x0), number, passes)
            with self._averaging(last=number == passes - 1):
                loss = self._loss(x0[part], y[part], t[part], (noise(forward)[part] for forward in count()))
                weight = len(y[part]) / self.recipe.batch_size
                pull = weight * self.world.size  # whose gradient is averaged over the processes
                if loss.requires_grad:
                    (loss if pull == 1 else pull * loss).backward()  # type: ignore[no-untyped-call]
            losses.append(weight * loss.detach())
        return torch.stack(losses).sum()

    def _averaging(self, last: bool) -> AbstractContextManager[None]:
        """Gradients of several processes are averaged once, in the last of the micro-batches."""
        if last or not isinstance(self._together, DistributedDataParallel):
            return nullcontext()
        return self._together.no_sync()

    def _loss(self, x0: Tensor, y: Tensor, t: Tensor, noises: Iterator[Tensor]) -> Tensor:
        """Each forward that the network's loss takes sees fresh noise."""
        loss = LossOfBatch(self._regression, self._forward, x0, t, y, noises)
        with self._unchanged(x_0=x0, t=t, y=y), autocast(self.precision, self.device):
            return loss_of(self.denoiser, loss)

    def _forward(self, x: Tensor, t: Tensor, y: Tensor, **extra: Any) -> Tensor:
        with self._unchanged(x=x, t=t, y=y):
            return self._together(x, t, y, **extra)  # type: ignore[no-any-return]

    def _unchanged(self, **inputs: Tensor) -> AbstractContextManager[None]:
        """Where it is looked, what the network has in its hands must stay as it is."""
        return self._guard.inputs(**inputs) if self._looking else nullcontext()

    @torch.no_grad()
    def _update_ema(self, spent: float) -> None:
        """`spent` is the step's share of the budget; a half-life is one, too."""
        torch._foreach_lerp_(self._averages, self._weights, 1 - ema_keep(self.recipe, spent))
        self.power.update(self.before, self.clock.progress)
        for average, module, name in self._buffers:
            getattr(average, name).copy_(getattr(module, name))

    def facts(self) -> TrainingFacts:
        """What training did, for the record."""
        self.settle()
        step_seconds = [round(seconds, 6) for seconds in self.times.seconds]
        known, paused = CurvePoint.model_fields, self.paused
        return TrainingFacts(
            batch_size=self.recipe.batch_size,
            steps=self.clock.steps,
            images=self.clock.images,
            seconds=self.clock.seconds,
            final_loss=self.curve.last_loss,
            step_seconds=step_seconds,
            step_stride=self.times.stride,
            images_per_second=training_rate(self.recipe.batch_size, step_seconds),
            curve=[CurvePoint.model_validate({n: v for n, v in p.items() if n in known}) for p in self.curve.points],
            resumed=self.resumed,
            damaged_checkpoints=self.damaged,
            flops=self.clock.flops,
            precision=self.precision,
            compiled=self.compiled,
            feeding=self.feed.where,
            loading_seconds=self.loading_seconds,
            compile_seconds=self.compiling.seconds,
            warm_compile_seconds=self.compiling.warm,
            checkpoint_seconds=self.checkpoint_seconds,
            evaluation_seconds=self.evaluation_seconds,
            pauses=paused.count,
            paused_seconds=round(paused.seconds, 3),
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that the next step depends on; filling them restores them."""
        found = {f"denoiser/{name}": tensor for name, tensor in self.denoiser.state_dict().items()}
        found |= {f"ema/{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for name, weight in self.denoiser.named_parameters():
            for kind, tensor in self.optimizer.state.get(weight, {}).items():
                found[f"optimizer/{kind}/{name}"] = tensor
        return found | self.power.tensors()

    def numbers(self) -> CheckpointFacts:
        """All else that the next step depends on, and what `facts` tells."""
        self.settle()
        return CheckpointFacts(
            before=self.before,
            clock=self.clock.state(),
            curve=self.curve,
            times=self.times,
            seconds={
                "loading": self.loading_seconds,
                "compiling": self.compiling.seconds,
                "warm": self.compiling.warm,
                "checkpoint": self.checkpoint_seconds,
                "evaluation": self.evaluation_seconds,
            },
            pauses=self.paused.count,
            paused_seconds=self.paused.seconds,
            peak=self.peak,
            resumed=self.resumed,
            damaged=self.damaged,
            groups=[
                {name: value for name, value in group.items() if name != "params"}
                for group in self.optimizer.param_groups
            ],
        )

    def restore(self, saved: Saved) -> None:
        """Continue from what was saved, as if nothing had happened."""
        weights, facts = dict(self.denoiser.named_parameters()), saved.facts
        for name, tensor in saved.shapes.items():
            part, _, rest = name.partition("/")
            kind, _, weight = rest.partition("/")
            if part == "optimizer" and weight in weights:
                self.optimizer.state[weights[weight]][kind] = like(tensor, weights[weight])
        saved.read_into(self.tensors() | self.power.no_more_asked_for(saved))
        for group, settings in zip(self.optimizer.param_groups, facts.groups, strict=True):
            group.update({name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()})
        self.clock.restore(facts.clock)
        self.curve, self.times, self.resumed = facts.curve, facts.times, facts.resumed + 1
        self.damaged = facts.damaged
        self.before, self._peaks, seconds = facts.before, [facts.peak], facts.seconds
        self.loading_seconds, self.compiling.seconds = seconds["loading"], seconds["compiling"]
        self.compiling.warm = seconds.get("warm", 0.0)
        self.checkpoint_seconds, self.evaluation_seconds = seconds["checkpoint"], seconds["evaluation"]
        self._paused += Pauses(facts.pauses, facts.paused_seconds)


def _buffers(ema: nn.Module, denoiser: nn.Module) -> Iterable[tuple[nn.Module, nn.Module, str]]:
    """Where the buffers are, which a network may replace."""
    for average, module in zip(ema.modules(), denoiser.modules(), strict=True):
        for name, _ in module.named_buffers(recurse=False):
            yield average, module, name


def _step_seed(seed: int, step: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0] >> 1)
