"""Raw step times of a denoiser in training and in inference: noise in, fixed shapes, no data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from .components import Selection
from .cost import cost_of_selection, peak_memory, reset_peak, resident
from .environment import describe, find_device
from .objectives import loss_of
from .profile import Phase, Profile, Setup
from .testing import example_batch, perturb

Clock = Callable[[], float]


def profile(selection: Selection, setup: Setup) -> Profile:
    """Time one denoiser in this process, which should be a clean one.

    Inference comes first and counting last, because on a CPU a peak can't be reset. Training is forward and
    backward of the network's own loss against fixed noise, and a step of AdamW. The parameters are perturbed,
    because some networks start as the zero function, and zeros cost a GPU less than numbers do.
    """
    at_start = resident()
    device, spec = find_device(setup.device), setup.spec
    torch.manual_seed(0)
    denoiser: nn.Module = selection.build(spec)
    perturb(denoiser)
    denoiser.to(device)
    if setup.compile:
        denoiser.compile(fullgraph=True)
    x, t, y = (part.to(device) for part in example_batch(spec, setup.batch_size))
    cast = torch.autocast(device.type, torch.bfloat16) if setup.precision == "bfloat16" else nullcontext()

    def infer() -> None:
        with torch.inference_mode(), cast:
            denoiser(x, t, y)

    denoiser.eval()
    inference = time_steps(infer, device, setup.warmup, setup.steps)
    denoiser.train()
    training = time_steps(training_step(denoiser, x, t, y, cast), device, setup.warmup, setup.steps)
    return Profile(
        label=selection.label,
        setup=setup,
        environment=describe(device),
        resident_at_start=at_start,
        inference=inference,
        training=training,
        cost=cost_of_selection(selection, spec),
    )


def check(tasks: Sequence[tuple[Selection, Setup]]) -> None:
    """The device is here, and every network can be built for its input; `DitbenchError` says what can't."""
    for selection, setup in tasks:
        find_device(setup.device)
        with torch.device("meta"):
            selection.build(setup.spec)


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
    step: Callable[[], None], device: torch.device, warmup: int, count: int, clock: Clock = time.perf_counter
) -> Phase:
    """Time the first step (which allocates and compiles), the other warm-up steps together, and `count` more.

    A network whose shapes change from step to step, as MDT v2's do, compiles again in its first few steps.

    The device has finished before the clock is read. The peak is that of all these steps.
    """

    def timed() -> float:
        began = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - began

    reset_peak(device)
    first = timed()
    warm = sum(timed() for _ in range(warmup))
    steps = [timed() for _ in range(count)]
    return Phase(first_seconds=first, warmup_seconds=warm, step_seconds=steps, peak=peak_memory(device))
