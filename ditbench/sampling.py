"""From a trained denoiser to images: samplers over diffusers' schedulers, one random stream per image."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from .components import DenoiserSpec
from .images import Bytes, to_bytes
from .watch import Diverged

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x (N, C, H, W), t ()) -> the denoiser's output
Sample = Callable[[Denoise, Tensor, int], Tensor]  # (denoise, noise, steps) -> x_0

_STREAM = 0x0D17  # keeps the images' streams apart from any other use of (seed, index)


@dataclass(frozen=True, eq=False)
class Batch:
    """Sampled images, and how long their sampling took."""

    pixels: Bytes  # (N, C, H, W)
    labels: npt.NDArray[np.int64]  # (N,)
    seconds: float  # noise to bytes, synchronised


def euler(denoise: Denoise, noise: Tensor, steps: int) -> Tensor:
    """Euler's method along the flow from s = 1 to 0 in equal steps; one evaluation each."""
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=noise.device)
    x = noise
    for t in scheduler.timesteps:
        x = scheduler.step(denoise(x, t), t, x).prev_sample
    return x


def initial_noise(seed: int, indices: npt.NDArray[np.int64], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (len(indices), *shape), float32, on the CPU.

    Each image has a counter-based stream of its own, keyed by the run's seed and the image's index, so
    image 17 starts from the same bits at any batch size, on any device, in any number of processes.
    """
    draws = [
        np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, _STREAM]))
        for index in indices.tolist()
    ]
    return torch.from_numpy(np.stack([draw.standard_normal(shape, dtype=np.float32) for draw in draws]))


def balanced_labels(count: int, classes: int) -> npt.NDArray[np.int64]:
    """Image i has class i mod `classes`: equal shares, a fixed order. Without classes: all 0."""
    return np.arange(count, dtype=np.int64) % max(1, classes)


def labels_sha256(labels: npt.NDArray[np.int64]) -> str:
    """Hash of a label list, for the record."""
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


def generate(
    denoiser: nn.Module,
    spec: DenoiserSpec,
    sample: Sample,
    steps: int,
    count: int,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Iterator[Batch]:
    """Sample `count` images with balanced labels, batch by batch, without guidance.

    Raises `Diverged` if a sample is infinite or NaN.
    """
    labels = balanced_labels(count, spec.classes)
    shape = (spec.channels, spec.resolution, spec.resolution)
    denoiser.eval()
    for start in range(0, count, batch_size):
        indices = np.arange(start, min(count, start + batch_size), dtype=np.int64)
        began = time.perf_counter()
        noise = initial_noise(seed, indices, shape).to(device)
        y = torch.from_numpy(labels[indices]).to(device)
        with torch.inference_mode():
            x = sample(_bind(denoiser, spec, y), noise, steps)
        if not bool(x.isfinite().all()):
            raise Diverged("a sample became infinite or NaN")
        pixels = to_bytes(x).cpu().numpy()  # the copy to the host waits for the device
        yield Batch(pixels, labels[indices], time.perf_counter() - began)


def _bind(denoiser: nn.Module, spec: DenoiserSpec, y: Tensor) -> Denoise:
    """The denoiser with its labels fixed, its time broadcast and its variance channels left out."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = denoiser(x, t.to(x.dtype).expand(len(x)), y)
        return out[:, : spec.channels]

    return denoise
