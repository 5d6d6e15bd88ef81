"""Raw step times of a denoiser in training and in inference: noise in, fixed shapes, no data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial

import torch
from torch import Tensor, nn

from ..components import DenoiserSpec, Selection
from ..denoiser.cost import cost_of_selection
from ..denoiser.interface import example_batch, loss_of, perturb
from ..records.profile import How, Phase, Profile, Setup, Turn
from ..runtime.environment import describe, find_device
from ..runtime.memory import device_used, peak_memory, reset_peak, resident
from ..runtime.precision import Clock, CompileWatch, Precision, autocast, products, resolve
from ..tracks.architecture import ArchitectureFacts
from ..training.fitting import Kept, all_needs, check_fits
from .energy import Joules, energy_counter
from .hardware import VERSION, dense_peak

_KEPT = Kept(moments=2, averages=0)  # AdamW, and no EMA
_SMALLER = "give a smaller `batch_size`"


def profile(selection: Selection, architecture: ArchitectureFacts, setup: Setup, turn: Turn) -> Profile:
    """Time one denoiser in this process, which should be a clean one.

    Inference comes first and counting last, because on a CPU a peak can't be reset. Training is forward and
    backward of the network's own loss against fixed noise, and a step of AdamW. The parameters are perturbed,
    because some networks start as the zero function, and zeros cost a GPU less than numbers do.
    """
    at_start = resident()
    device, spec = find_device(setup.device), setup.spec
    denoiser = _build(selection, setup).to(device)
    x, t, y = (part.to(device) for part in example_batch(spec, setup.batch_size))
    precision = resolve(setup.precision, device)
    joules = energy_counter(str(torch.cuda.get_device_properties(device).uuid)) if device.type == "cuda" else None

    def infer() -> None:
        with torch.inference_mode(), autocast(precision, device):
            denoiser(x, t, y)

    with products(precision):
        denoiser.eval()
        inference = time_steps(infer, device, setup, joules)
        denoiser.train()
        training = time_steps(training_step(denoiser, x, t, y, autocast(precision, device)), device, setup, joules)
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
        cost=cost_of_selection(selection, spec),
        peak_flops=dense_peak(environment.gpu, setup.precision),
        peaks_version=VERSION,
    )


def _build(selection: Selection, setup: Setup) -> nn.Module:
    torch.manual_seed(0)
    denoiser: nn.Module = selection.build(setup.spec)
    perturb(denoiser)
    if setup.compile:
        denoiser.compile(fullgraph=True)
    return denoiser


def check(selections: Sequence[Selection], specs: Sequence[DenoiserSpec], how: How) -> tuple[str, Precision]:
    """Find device and precision, and build every network for its input; `DitbenchError` says what can't be.

    A network that breaks in any other way is left to its own process, which will fail for itself, as it is checked in
    one of its own.
    """
    found = find_device(how.device)
    pairs = list(zip(selections, specs, strict=True))
    networks = [(selection.label, partial(selection.build, spec), spec, _KEPT) for selection, spec in pairs]
    for (label, *_), needs in zip(networks, list(all_needs(networks)), strict=True):
        if needs is not None:
            check_fits(label, needs, how.batch_size, found, remedy=_SMALLER)
    return str(found), resolve(how.precision, found)


def training_step(
    denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor, cast: AbstractContextManager[object]
) -> Callable[[], None]:
    """A whole optimiser step on noise."""
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-4, fused=x.is_cuda)
    target = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.device)

    def loss(**extra: object) -> Tensor:
        out: Tensor = denoiser(x, t, y, **extra)[:, : x.shape[1]]
        return (out.float() - target).square().mean()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with cast:
            value = loss_of(denoiser, loss)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def time_steps(
    step: Callable[[], None],
    device: torch.device,
    setup: Setup,
    joules: Joules | None = None,
    clock: Clock = time.perf_counter,
) -> Phase:
    """Time the first step (which allocates and compiles) and the warm-up steps together, and each of those after.

    The device has finished before the clock is read. The peak is that of all these steps.
    """
    used: list[int] = []

    def timed() -> tuple[float, float]:
        compiled, began = compiling.seconds, clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = clock() - began
        if device.type == "cuda":
            used.append(device_used(device))
        return seconds, compiling.seconds - compiled

    reset_peak(device)
    with CompileWatch(clock) as compiling:
        warm = [timed() for _ in range(1 + setup.warmup)]
        before = joules() if joules else None
        steps = [timed() for _ in range(setup.steps)]
        after = joules() if joules else None
    return Phase(
        warmup_seconds=sum(seconds - compiled for seconds, compiled in warm),
        compile_seconds=compiling.seconds if setup.compile else None,
        step_seconds=[seconds for seconds, _ in steps],
        compiled_steps=sum(compiled > 0 for _, compiled in steps),
        peak=peak_memory(device, used),
        joules=after - before if before is not None and after is not None and after > before else None,
    )
