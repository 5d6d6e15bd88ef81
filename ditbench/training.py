"""The training loop: the track's recipe on any denoiser, with EMA, label dropout and exact resume.

Every random draw of a step is a function of (seed, step): the generators are seeded anew at each step, so
there is no RNG state to save, and architectures that draw differently still see the same images, labels,
times and (first) noise at the same step. Likewise the batch of a step is a function of (seed, images seen).
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from . import checkpoint
from .budget import Budget, BudgetClock
from .components import DenoiserSpec
from .images import Bytes, from_bytes
from .objectives import DiffusionObjective, loss_of
from .record import TrainingFacts
from .track import Recipe
from .watch import Diverged, Progress, Watch

CURVE_FILE = "curve.jsonl"
CURVE_POINTS = 100  # intervals of the loss curve over a budget
REPORT_SECONDS = 0.5  # of training time between two reports, at least
MAX_STEP_TIMES = 1024  # raw step times kept; longer runs keep every 2nd, 4th, ...


@dataclass
class StepTimes:
    """Raw seconds of every `stride`-th step; the stride doubles so that the list stays short."""

    stride: int = 1
    seconds: list[float] = field(default_factory=list)

    def add(self, step: int, seconds: float) -> None:
        if step % self.stride:
            return
        self.seconds.append(seconds)
        if len(self.seconds) > MAX_STEP_TIMES:
            self.seconds = self.seconds[::2]
            self.stride *= 2


class Shuffle:
    """An endless stream of image indices: one permutation after another, each from (seed, epoch)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def batch(self, position: int, count: int) -> npt.NDArray[np.int64]:
        """Indices of the images number `position` to `position + count - 1` of the stream."""
        parts = []
        while count:
            epoch, offset = divmod(position, self.size)
            part = self._permutation(epoch)[offset : offset + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
            self._epoch = epoch
        return self._order


class Trainer:
    """One run's model, optimiser, EMA, clock and curve."""

    def __init__(
        self,
        denoiser: nn.Module,
        spec: DenoiserSpec,
        objective: DiffusionObjective,
        recipe: Recipe,
        budget: Budget,
        pixels: Bytes,
        labels: npt.NDArray[np.int64],
        seed: int,
        device: torch.device,
    ) -> None:
        self.denoiser = denoiser.to(device).train()
        self.ema = copy.deepcopy(self.denoiser).eval().requires_grad_(False)
        self._averages: list[Tensor] = list(self.ema.parameters())
        self._weights: list[Tensor] = list(self.denoiser.parameters())
        self.spec, self.objective, self.recipe, self.seed, self.device = spec, objective, recipe, seed, device
        self.pixels = torch.from_numpy(pixels).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.shuffle = Shuffle(len(labels), seed)
        self.optimizer = torch.optim.AdamW(
            self.denoiser.parameters(),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=device.type == "cuda",
        )
        self.clock = BudgetClock(budget)
        self.times = StepTimes()
        self.resumed = 0
        self.curve: list[dict[str, float]] = []
        self._interval: list[float] = []  # losses since the curve's last point
        self._interval_start = (0, 0.0)  # images and seconds at the curve's last point

    def step(self) -> float:
        """One optimiser step; returns its loss and advances the clock.

        The clock counts batch, forward, backward and optimiser; the EMA's update comes after it.
        """
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the EMA's update of the step before is not this one's time
        began = time.perf_counter()
        torch.manual_seed(_step_seed(self.seed, self.clock.steps, stream=1))  # for what the network draws
        draw = torch.Generator(self.device).manual_seed(_step_seed(self.seed, self.clock.steps, stream=2))
        x0, y = self._batch(draw)
        t = self.objective.sample_time(len(x0), draw)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * lr_factor(self.recipe, self.clock.progress)
        loss = self._loss(x0, y, t, draw)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        value = float(loss.detach())  # waits for the device
        before = self.clock.progress
        seconds = time.perf_counter() - began
        self.times.add(self.clock.steps, seconds)
        self.clock.tick(len(x0), seconds)
        self._update_ema(self.clock.progress - before)
        if not math.isfinite(value):
            raise Diverged(f"the loss became {value} at step {self.clock.steps}")
        return value

    def _batch(self, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1] and labels, some of them replaced by the null label."""
        stream = self.shuffle.batch(self.clock.images, self.recipe.batch_size)
        index = torch.from_numpy(stream).to(self.device)
        y = self.labels[index]
        dropped = torch.rand(len(y), generator=draw, device=self.device) < self.recipe.label_dropout
        return from_bytes(self.pixels[index]), torch.where(dropped, self.spec.classes, y)

    def _loss(self, x0: Tensor, y: Tensor, t: Tensor, draw: torch.Generator) -> Tensor:
        def once(**extra: Any) -> Tensor:
            noise = torch.randn(x0.shape, generator=draw, device=self.device)
            out = self.denoiser(self.objective.corrupt(x0, noise, t), t, y, **extra)
            return self.objective.loss(out, x0, noise, t).mean()

        return loss_of(self.denoiser, once)

    @torch.no_grad()
    def _update_ema(self, spent: float) -> None:
        """`spent` is the step's share of the budget; the half-life is one too."""
        keep = 0.5 ** (spent / self.recipe.ema_half_life) if self.recipe.ema_half_life else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1 - keep)
        for average, buffer in zip(self.ema.buffers(), self.denoiser.buffers(), strict=True):
            average.copy_(buffer)

    def note(self, loss: float) -> bool:
        """Put the loss on the curve; True when that closed an interval."""
        self._interval.append(loss)
        if not (self.clock.done or self.clock.progress * CURVE_POINTS >= len(self.curve) + 1):
            return False
        images, seconds = self._interval_start
        self.curve.append(
            {
                "step": self.clock.steps,
                "images": self.clock.images,
                "seconds": round(self.clock.seconds, 6),
                "loss": math.fsum(self._interval) / len(self._interval),
                "images_per_second": (self.clock.images - images) / (self.clock.seconds - seconds),
            }
        )
        self._interval, self._interval_start = [], (self.clock.images, self.clock.seconds)
        return True

    def facts(self) -> TrainingFacts:
        """What training did, for the record."""
        return TrainingFacts(
            batch_size=self.recipe.batch_size,
            steps=self.clock.steps,
            images=self.clock.images,
            seconds=self.clock.seconds,
            final_loss=self.curve[-1]["loss"] if self.curve else None,
            step_seconds=[round(seconds, 6) for seconds in self.times.seconds],
            step_stride=self.times.stride,
            resumed=self.resumed,
        )

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, and the curve."""
        return {
            "denoiser": self.denoiser.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clock": self.clock.state(),
            "times": {"stride": self.times.stride, "seconds": self.times.seconds},
            "curve": self.curve,
            "interval": {"losses": self._interval, "start": list(self._interval_start)},
            "resumed": self.resumed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`, as if nothing had happened."""
        self.denoiser.load_state_dict(state["denoiser"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock.restore(state["clock"])
        self.times = StepTimes(state["times"]["stride"], state["times"]["seconds"])
        self.curve = state["curve"]
        self._interval = state["interval"]["losses"]
        self._interval_start = (int(state["interval"]["start"][0]), float(state["interval"]["start"][1]))
        self.resumed = state["resumed"] + 1


def train(trainer: Trainer, directory: Path, run_hash: str, checkpoint_seconds: float, watch: Watch) -> None:
    """Train to the end of the budget, from the directory's checkpoint if there is one.

    Raises `Diverged` or, with the state saved, `Interrupted`.
    """
    saved = checkpoint.load(directory / checkpoint.FILE_NAME, run_hash, trainer.device)
    if saved is not None:
        trainer.restore(saved)

    def keep() -> None:
        checkpoint.save(directory / checkpoint.FILE_NAME, run_hash, trainer.state())

    curve = directory / CURVE_FILE
    curve.write_text("".join(json.dumps(point) + "\n" for point in trainer.curve), encoding="utf-8")
    saved_at = reported_at = trainer.clock.seconds
    with curve.open("a", encoding="utf-8", buffering=1) as file:
        while not trainer.clock.done:
            if watch.should_stop():
                keep()
                watch.check()
            loss = trainer.step()
            if trainer.note(loss):
                file.write(json.dumps(trainer.curve[-1]) + "\n")
            if trainer.clock.seconds - reported_at >= REPORT_SECONDS or trainer.clock.done:
                watch.report(_progress(trainer, loss))
                reported_at = trainer.clock.seconds
            if trainer.clock.seconds - saved_at >= checkpoint_seconds:
                keep()
                saved_at = trainer.clock.seconds
    keep()


def _progress(trainer: Trainer, loss: float) -> Progress:
    clock = trainer.clock
    rate = trainer.recipe.batch_size / median(trainer.times.seconds[-10:])
    return Progress("train", clock.progress, clock.steps, rate, loss, clock.seconds_left)


def lr_factor(recipe: Recipe, progress: float) -> float:
    """Share of the learning rate at `progress` in [0, 1) of the budget: linear warm-up, then the decay."""
    if recipe.warmup and progress < recipe.warmup:
        return progress / recipe.warmup
    if recipe.decay == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup))


def _step_seed(seed: int, step: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0] >> 1)
