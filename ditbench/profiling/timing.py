"""Raw step times of a denoiser in training, in inference and under a sampler: noise in, fixed shapes, no data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from itertools import count, repeat

import numpy as np
import torch
from torch import Tensor, nn

from ..components import Selection
from ..denoiser.cost import cost_of_selection
from ..denoiser.interface import TrainingLoss, example_batch, loss_of, perturb
from ..denoiser.strips import strip_shape
from ..denoiser_spec import DenoiserSpec
from ..records.profile import How, Phase, Profile, Setup, Turn
from ..registry import Registry
from ..runtime.compiling import Clock, CompileWatch, compile_network, compiling
from ..runtime.environment import describe, find_device
from ..runtime.memory import device_used, peak_memory, reset_peak, resident
from ..runtime.precision import Precision, autocast, products, resolve
from ..sampling.chosen import make_sample
from ..sampling.samplers import Walk
from ..sampling.walking import GuidedDenoiser, initial_noise, streams
from ..tracks.architecture import ArchitectureFacts
from ..training.discrete import AtTime, Noise
from ..training.fitting import Kept, all_needs, check_fits
from ..training.objectives import DiffusionObjective
from ..training.regression import LossOfBatch, Regression
from ..training.spec import make_objective
from .energy import Joules, energy_counter
from .hardware import VERSION, dense_peak

_KEPT = Kept(moments=2, averages=0)  # AdamW, and no EMA
_SMALLER = "give a smaller `batch_size`"


def profile(
    registry: Registry, selection: Selection, architecture: ArchitectureFacts, setup: Setup, turn: Turn
) -> Profile:
    """Time one denoiser in this process, which should be a clean one.

    Inference comes first and counting last, because on a CPU a peak can't be reset. Training is forward and
    backward of the network's own loss, the track's or that against fixed noise, and a step of AdamW. The parameters
    are perturbed, because some networks start as the zero function, and zeros cost a GPU less than numbers do.
    """
    at_start = resident()
    device, spec = find_device(setup.device), setup.spec
    denoiser = _build(selection, setup).to(device)
    x, t, y = (part.to(device) for part in example_batch(spec, setup.batch_size))
    precision = resolve(setup.precision, device)
    joules = energy_counter(str(torch.cuda.get_device_properties(device).uuid)) if device.type == "cuda" else None

    chosen = setup.objective
    objective = make_objective(chosen, setup.track or "", registry) if chosen else None
    losses = stand_in_loss(denoiser, x, t, y) if objective is None else track_loss(denoiser, objective, x, y)

    def infer() -> None:
        with torch.inference_mode(), autocast(precision, device):
            denoiser(x, t, y)

    with products(precision):
        denoiser.eval()
        inference = time_steps(infer, device, setup, joules)
        walk = sampler_walk(registry, denoiser, objective, setup, y, precision)
        sampling = walk and time_laps(walk, device, setup, joules)
        denoiser.train()
        step = training_step(denoiser, losses, autocast(precision, device))
        training = time_steps(step, device, setup, joules)
    environment = describe(device)
    return Profile(
        created=datetime.now(UTC).replace(microsecond=0),
        architecture=architecture,
        setup=setup,
        turn=turn,
        environment=environment,
        resident_at_start=at_start,
        inference=inference,
        training=training,
        sampling=sampling,
        cost=cost_of_selection(selection, spec),
        peak_flops=dense_peak(environment.gpu, setup.precision),
        peaks_version=VERSION,
    )


def _build(selection: Selection, setup: Setup) -> nn.Module:
    torch.manual_seed(0)
    denoiser: nn.Module = selection.build(setup.spec)
    perturb(denoiser)
    return compile_network(denoiser, "blocks" if setup.compile else "off")


def check(
    selections: Sequence[Selection], specs: Sequence[DenoiserSpec], how: How, count_macs: bool = False
) -> tuple[str, Precision, list[int | None]]:
    """Find device and precision, and build every network for its input; `DitbenchError` says what can't be.

    Also the MACs that training takes of an image, where they are asked for and matter: on a CPU. A network that breaks
    in any other way is left to its own process, which will fail for itself, as it is checked in one of its own.
    """
    found = find_device(how.device)
    pairs = list(zip(selections, specs, strict=True))
    networks = [(selection.label, partial(selection.build, spec), spec, _KEPT) for selection, spec in pairs]
    all_of_them = list(all_needs(networks, count_macs and found.type == "cpu"))
    for (label, *_), needs in zip(networks, all_of_them, strict=True):
        if needs is not None:
            check_fits(label, needs, how.batch_size, found, remedy=_SMALLER)
    macs = [None if needs is None else needs.macs for needs in all_of_them]
    return str(found), resolve(how.precision, found), macs


class _NoiseAlready(Noise):
    """DDPM's loss of a batch that is noise as it stands."""

    def corrupt(self, x0: Tensor, noise: Tensor, t: Tensor, at: AtTime | None = None) -> Tensor:
        return x0


def stand_in_loss(denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> Callable[[], TrainingLoss]:
    """The squared error against fixed noise, the same at every step."""
    target = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.device)
    loss = LossOfBatch(Regression(_NoiseAlready(), compiled=False), denoiser, x, t, y, repeat(target))
    return lambda: loss


def track_loss(denoiser: nn.Module, objective: DiffusionObjective, x0: Tensor, y: Tensor) -> Callable[[], TrainingLoss]:
    """The objective's own loss: each step draws times, each forward fresh noise, on the device, as training does."""
    draw, regression = torch.Generator(x0.device).manual_seed(1), Regression(objective, compiled=False)
    noises = (torch.randn(x0.shape, generator=draw, device=x0.device) for _ in count())
    return lambda: LossOfBatch(regression, denoiser, x0, objective.sample_time(len(x0), draw), y, noises)


def training_step(
    denoiser: nn.Module, losses: Callable[[], TrainingLoss], cast: AbstractContextManager[object]
) -> Callable[[], None]:
    """A whole optimiser step on noise; `losses` gives the loss of each step."""
    parameters = list(denoiser.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=parameters[0].is_cuda)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with cast:
            value = loss_of(denoiser, losses())
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def sampler_walk(
    registry: Registry,
    denoiser: nn.Module,
    objective: DiffusionObjective | None,
    setup: Setup,
    y: Tensor,
    precision: Precision,
) -> Callable[[Laps], None] | None:
    """Walks of the setup's sampler from noise, a lap for each evaluation, until all laps are done; None: no sampler."""
    choice, spec, indices = setup.sampler, setup.spec, np.arange(setup.batch_size)
    if choice is None or objective is None:
        return None
    sample = make_sample(choice, setup.track or "", registry)
    shape = strip_shape(spec.shape)
    noise = initial_noise(0, indices, shape).to(y.device)
    guided = GuidedDenoiser(denoiser, spec, y, None, precision)

    def walk(lap: Laps) -> None:
        def denoise(x: Tensor, t: Tensor) -> Tensor:
            lap()
            return guided(x, t)

        steps = min(choice.steps, lap.wanted)
        with torch.inference_mode():
            while len(lap.seconds) < lap.wanted:
                sample(Walk(denoise, objective, noise, steps, partial(streams, 0, indices)))
                lap.end()

    return walk


class Laps:
    """Steps timed one after the other: it is called when one begins, which ends the one before.

    The device has finished before the clock is read.
    """

    def __init__(
        self, device: torch.device, setup: Setup, joules: Joules | None, clock: Clock, compiling: CompileWatch
    ) -> None:
        self.seconds: list[float] = []
        self.compiled: list[float] = []  # of these
        self.used: list[int] = []  # bytes of the GPU after each step
        self.before: float | None = None  # joules, when the first timed step began
        self.wanted = 1 + setup.warmup + setup.steps
        self._device, self._joules, self._clock, self._compiling = device, joules, clock, compiling
        self._untimed = 1 + setup.warmup
        self._began: tuple[float, float] | None = None

    def __call__(self) -> None:
        self.end()
        if self._joules and len(self.seconds) == self._untimed:
            self.before = self._joules()
        self._began = self._compiling.seconds, self._clock()

    def end(self) -> None:
        """The step that has begun is over, and none begins."""
        if self._began is None:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        compiled, began = self._began
        took = self._clock() - began
        if self._device.type == "cuda":
            self.used.append(device_used(self._device))
        self._began, compiling = None, self._compiling.seconds - compiled
        self.seconds.append(took)
        self.compiled.append(compiling)

    def phase(self, compiles: bool) -> Phase:
        """What was timed: the first step, which allocates and compiles, together with the warm-up's, and each after."""
        after, untimed = self._joules() if self._joules else None, self._untimed
        used = after - self.before if after is not None and self.before is not None else 0.0
        return Phase(
            warmup_seconds=sum(self.seconds[:untimed]) - sum(self.compiled[:untimed]),
            compile_seconds=sum(self.compiled) if compiles else None,
            step_seconds=self.seconds[untimed:],
            compiled_steps=sum(seconds > 0 for seconds in self.compiled[untimed:]),
            peak=peak_memory(self._device, self.used),
            joules=used if used > 0 else None,
        )


def time_laps(
    walk: Callable[[Laps], None],
    device: torch.device,
    setup: Setup,
    joules: Joules | None = None,
    clock: Clock = time.perf_counter,
) -> Phase:
    """Time what tells when each of its steps begins. The peak is that of all these steps."""
    reset_peak(device)
    watch = CompileWatch(clock)
    with compiling(watch):
        laps = Laps(device, setup, joules, clock, watch)
        walk(laps)
        laps.end()
        return laps.phase(setup.compile)


def time_steps(
    step: Callable[[], None],
    device: torch.device,
    setup: Setup,
    joules: Joules | None = None,
    clock: Clock = time.perf_counter,
) -> Phase:
    """Time the first step and the warm-up's together, and each of those after."""

    def walk(lap: Laps) -> None:
        for _ in range(lap.wanted):
            lap()
            step()

    return time_laps(walk, device, setup, joules, clock)
