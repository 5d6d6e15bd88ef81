"""Images of a run, batch by batch: timed, compiled where that is asked, and the network watched."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..datasets.examples import Labels
from ..datasets.pixels import Bytes
from ..denoiser.guard import Guard
from ..denoiser_spec import DenoiserSpec
from ..runtime.clock import RUNNING
from ..runtime.compiling import CompileWatch, compile_network, compiling
from .walking import GuidedDenoiser, SamplingPlan, labels_of, pixels_of, walked


@dataclass(frozen=True, eq=False)
class SampledBatch:
    """Sampled images, and how long their sampling took."""

    pixels: Bytes  # (N, C, H, W), of clips (N, F, C, H, W)
    labels: Labels  # (N,)
    seconds: float  # from noise to what the denoiser makes, synchronised
    decode_seconds: float  # from there to bytes
    evaluations: int  # of the denoiser per image (NFE), guidance's second ones included
    compile_seconds: float = 0.0  # of none of the above


def generate(
    denoiser: nn.Module,
    spec: DenoiserSpec,
    plan: SamplingPlan,
    indices: range | npt.NDArray[np.int64],
    batch_size: int,
    device: torch.device,
) -> Iterator[SampledBatch]:
    """Sample the images of these numbers, in this order, batch by batch.

    An image's label and noise follow from its index, so processes can share the work: each takes some indices.
    Raises `Diverged` if a sample is infinite or NaN.
    """
    images = np.asarray(indices, dtype=np.int64)
    compile_network(denoiser.eval(), plan.compiled, batches_vary=True)
    watch = CompileWatch(RUNNING)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        labels = labels_of(plan, batch, spec.classes)
        began = RUNNING()
        y = torch.from_numpy(labels).to(device)
        guided = GuidedDenoiser(denoiser, spec, y, plan.guidance, plan.precision, _looking(denoiser, plan.steps))
        before, compiles = watch.seconds, nullcontext() if plan.compiled == "off" else compiling(watch)
        with compiles:
            x = walked(guided, plan, batch, device)
        made = RUNNING()  # the check that all is finite has waited for the device
        pixels = pixels_of(x, plan.decode, spec)  # the copy to the host waits for it, too
        compiled = watch.seconds - before
        yield SampledBatch(pixels, labels, made - began - compiled, RUNNING() - made, guided.evaluations, compiled)


def _looking(denoiser: nn.Module, steps: int) -> Callable[[], AbstractContextManager[object]]:
    """What stands around each call of a batch: at the first, and at one that nobody can foresee, a guard looks."""
    guard, looks, calls = Guard(denoiser), (0, secrets.randbelow(steps)), count()
    return lambda: guard.surroundings() if next(calls) in looks else nullcontext()
