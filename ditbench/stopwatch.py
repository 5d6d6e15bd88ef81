"""Raw step times of a denoiser in training and in inference: noise in, fixed shapes, no data."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from .components import DenoiserSpec, Selection
from .cost import cost_of, peak_memory, reset_peak
from .environment import describe
from .profile import Phase, Profile, Setup

Clock = Callable[[], float]


def profile(selection: Selection, setup: Setup) -> Profile:
    """Time one denoiser in this process, which should be a clean one. Inference comes first: its peak is smaller.

    Training is forward and backward of the network's own loss against noise, and a step of AdamW.
    """
    device, spec = torch.device(setup.device), setup.spec
    torch.manual_seed(0)
    denoiser: nn.Module = selection.build(spec).to(device)
    cost = cost_of(denoiser, spec)
    if setup.compile:
        denoiser.compile(fullgraph=True)
    x, t, y = _batch(spec, setup.batch_size, device)
    cast = torch.autocast(device.type, torch.bfloat16) if setup.precision == "bfloat16" else nullcontext()

    def infer() -> None:
        with torch.inference_mode(), cast:
            denoiser(x, t, y)

    denoiser.eval()
    inference = time_steps(infer, device, setup.warmup, setup.steps)
    denoiser.train()
    return Profile(
        label=selection.label,
        setup=setup,
        environment=describe(device),
        cost=cost,
        inference=inference,
        training=time_steps(training_step(denoiser, x, t, y, cast), device, setup.warmup, setup.steps),
    )


def training_step(
    denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor, cast: AbstractContextManager[object]
) -> Callable[[], None]:
    """A whole optimiser step on noise."""
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-4, fused=x.is_cuda)

    def loss(**extra: object) -> Tensor:
        return (denoiser(x, t, y, **extra).float()).square().mean()  # type: ignore[no-any-return]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with cast:
            value = getattr(denoiser, "training_loss", lambda loss: loss())(loss)
        value.backward()
        optimizer.step()

    return step


def time_steps(
    step: Callable[[], None], device: torch.device, warmup: int, count: int, clock: Clock = time.perf_counter
) -> Phase:
    """Time the first step (which compiles), the other warm-up steps together, and `count` more one by one.

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


def _batch(spec: DenoiserSpec, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(count, spec.channels, spec.resolution, spec.resolution, generator=draw)
    y = torch.arange(count) % max(1, spec.classes)
    return x.to(device), (1000 * torch.rand(count, generator=draw)).to(device), y.to(device)
