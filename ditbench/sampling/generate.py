"""From a trained denoiser to images: labels, guidance, and one random stream per image."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..datasets.examples import Labels
from ..datasets.pixels import Bytes, to_bytes
from ..denoiser.guard import Guard
from ..denoiser.strips import as_clips, as_strips, strip_shape
from ..denoiser_spec import DenoiserSpec
from ..runtime.clock import RUNNING
from ..runtime.compiling import Way, compile_network, compiling
from ..runtime.precision import CompileWatch, Precision, autocast, products
from ..runtime.progress import Diverged
from ..tracks.guidance import Guidance
from ..training.objectives import DiffusionObjective
from .samplers import Sample, Walk

Decode = Callable[[Tensor], Tensor]  # from what the denoiser makes to images in [-1, 1]

_STREAM, _LABELS = 0x0D17, 0x0D18  # keep the images' streams apart from any other use of (seed, index)


@dataclass(frozen=True, eq=False)
class SampledBatch:
    """Sampled images, and how long their sampling took."""

    pixels: Bytes  # (N, C, H, W), of clips (N, F, C, H, W)
    labels: Labels  # (N,)
    seconds: float  # from noise to what the denoiser makes, synchronised
    decode_seconds: float  # from there to bytes
    evaluations: int  # of the denoiser per image (NFE), guidance's second ones included
    compile_seconds: float = 0.0  # of none of the above


@dataclass(frozen=True)
class SamplingPlan:
    """How to sample, the same for every batch."""

    sample: Sample
    objective: DiffusionObjective
    steps: int
    seed: int
    guidance: Guidance | None = None
    labels: Literal["balanced", "random"] = "balanced"
    decode: Decode = lambda x: x
    precision: Precision = "float32"  # of the denoiser; all else is float32
    compiled: Way = "off"  # of the denoiser


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


def streams(seed: int, indices: npt.NDArray[np.int64]) -> list[torch.Generator]:
    """One generator per image, for samplers that draw noise on the way.

    torch's CPU generator has 2**32 seeds; counting on from one makes those of a run differ for certain.
    """
    first = int(np.random.SeedSequence([seed, _STREAM]).generate_state(1)[0])
    return [torch.Generator().manual_seed((first + index) % 2**32) for index in indices.tolist()]


def balanced_labels(indices: npt.NDArray[np.int64], classes: int) -> Labels:
    """Image i has class i mod `classes`: equal shares, a fixed order. Without classes: all 0."""
    return indices % max(1, classes)


def random_labels(seed: int, indices: npt.NDArray[np.int64], classes: int) -> Labels:
    """Each image's class is drawn from (seed, index), uniformly, as DiT draws them. Without classes: all 0."""
    draws = (
        np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, _LABELS]))
        for index in indices.tolist()
    )
    return np.array([draw.integers(max(1, classes)) for draw in draws], dtype=np.int64)


def labels_sha256(labels: Labels) -> str:
    """Hash of a label list, for the record."""
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


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
    shape = strip_shape(spec.shape)
    compile_network(denoiser.eval(), plan.compiled, batches_vary=True)
    watch = CompileWatch(RUNNING)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        labels = labels_of(plan, batch, spec.classes)
        began = RUNNING()
        noise = initial_noise(plan.seed, batch, shape).to(device)
        y, looks = torch.from_numpy(labels).to(device), (0, secrets.randbelow(plan.steps))
        guided = GuidedDenoiser(denoiser, spec, y, plan.guidance, plan.precision, looks)
        before, compiles = watch.seconds, nullcontext() if plan.compiled == "off" else compiling(watch)
        with torch.inference_mode(), products(plan.precision), compiles:
            x = plan.sample(Walk(guided, plan.objective, noise, plan.steps, partial(streams, plan.seed, batch)))
        if not bool(x.isfinite().all()):
            raise Diverged("a sample became infinite or NaN")
        made = RUNNING()  # the check has waited for the device
        with torch.inference_mode():
            pixels = to_bytes(_decoded(plan.decode, x, spec)).cpu().numpy()  # the copy to the host waits for it, too
        compiled = watch.seconds - before
        yield SampledBatch(pixels, labels, made - began - compiled, RUNNING() - made, guided.evaluations, compiled)


def _decoded(decode: Decode, x: Tensor, spec: DenoiserSpec) -> Tensor:
    """Images (N, C, H, W), or clips (N, F, C, H, W), whose frames are decoded by themselves."""
    if spec.frames == 1:
        return decode(x)
    images = decode(as_clips(x, spec.frames).flatten(0, 1))
    return images.view(-1, spec.frames, *images.shape[1:])


def labels_of(plan: SamplingPlan, indices: npt.NDArray[np.int64], classes: int) -> Labels:
    """The classes of the images of these numbers."""
    if plan.labels == "random":
        return random_labels(plan.seed, indices, classes)
    return balanced_labels(indices, classes)


class GuidedDenoiser:
    """The denoiser as a sampler sees it: labels fixed, time broadcast, guided, and every evaluation counted."""

    def __init__(
        self,
        denoiser: nn.Module,
        spec: DenoiserSpec,
        y: Tensor,
        guidance: Guidance | None = None,
        precision: Precision = "float32",
        looks: Collection[int] = (),
    ) -> None:
        self.denoiser, self.spec, self.y, self.guidance, self.precision = denoiser, spec, y, guidance, precision
        self.evaluations = self._calls = 0  # evaluations: per image
        self._guard, self._looks = Guard(denoiser), looks  # numbers of calls at which it is looked what they change

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The output (N, out_channels, H, W) at x (N, C, H, W) and time t (), on the CPU; clips are strips."""
        weight = 1.0 if self.guidance is None else self.guidance.weight(float(t))
        times = x.new_full((len(x),), float(t))
        if weight == 1:
            self.evaluations += 1
            return self._denoise(x.clone(), times, self.y.clone())
        self.evaluations += 2
        null = torch.full_like(self.y, self.spec.classes)
        both = self._denoise(x.repeat(2, 1, 1, 1), times.repeat(2), torch.cat([self.y, null]))
        with_label, without = both.chunk(2)
        return self._guided(with_label, without, weight)

    def _denoise(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Inputs and output are nobody else's, so that what a network writes into them changes no sample."""
        looking, self._calls = self._calls in self._looks, self._calls + 1
        with self._guard.surroundings() if looking else nullcontext(), autocast(self.precision, x.device):
            out: Tensor = as_strips(self.denoiser(as_clips(x, self.spec.frames), t, y))
        return out.to(torch.float32, copy=True)

    def _guided(self, with_label: Tensor, without: Tensor, weight: float) -> Tensor:
        """u + w (c - u) on the guided channels; the others, and the variance's, are those with the label."""
        assert self.guidance is not None
        guided = self.guidance.channels or self.spec.channels
        c, u = with_label[:, :guided], without[:, :guided]
        return torch.cat([u + weight * (c - u), with_label[:, guided:]], dim=1)
