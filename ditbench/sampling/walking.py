"""From noise to an image: labels, guidance, one random stream per image, and the walk between them.

An exported pipeline carries this module and all that it imports, so that it gives the same bytes. It imports little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..datasets.pixels import Bytes, to_bytes
from ..denoiser.strips import as_clips, as_strips, strip_shape
from ..denoiser_spec import DenoiserSpec
from ..runtime.precision import Precision, Way, autocast, products
from ..runtime.progress import Diverged
from ..tracks.guidance import Guidance
from ..training.objectives import DiffusionObjective
from .samplers import Sample, Walk

Decode = Callable[[Tensor], Tensor]  # from what the denoiser makes to images in [-1, 1]
Labels = npt.NDArray[np.int64]

_STREAM, _LABELS = 0x0D17, 0x0D18  # keep the images' streams apart from any other use of (seed, index)


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


def labels_of(plan: SamplingPlan, indices: npt.NDArray[np.int64], classes: int) -> Labels:
    """The classes of the images of these numbers."""
    if plan.labels == "random":
        return random_labels(plan.seed, indices, classes)
    return balanced_labels(indices, classes)


def walked(guided: GuidedDenoiser, plan: SamplingPlan, indices: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    """What the denoiser makes of the noise of the images of these numbers, as one batch (N, C, F*H, W) on the device.

    Raises `Diverged` if it is infinite or NaN.
    """
    noise = initial_noise(plan.seed, indices, strip_shape(guided.spec.shape)).to(device)
    with torch.inference_mode(), products(plan.precision):
        x = plan.sample(Walk(guided, plan.objective, noise, plan.steps, partial(streams, plan.seed, indices)))
    if not bool(x.isfinite().all()):
        raise Diverged("a sample became infinite or NaN")
    return x


@torch.inference_mode()
def pixels_of(x: Tensor, decode: Decode, spec: DenoiserSpec) -> Bytes:
    """Images (N, C, H, W) of what `walked` gives, or clips (N, F, C, H, W), whose frames are decoded by themselves."""
    if spec.frames == 1:
        return to_bytes(decode(x)).cpu().numpy()
    images = decode(as_clips(x, spec.frames).flatten(0, 1))
    return to_bytes(images.view(-1, spec.frames, *images.shape[1:])).cpu().numpy()


class GuidedDenoiser:
    """The denoiser as a sampler sees it: labels fixed, time broadcast, guided, and every evaluation counted."""

    def __init__(
        self,
        denoiser: nn.Module,
        spec: DenoiserSpec,
        y: Tensor,
        guidance: Guidance | None = None,
        precision: Precision = "float32",
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.denoiser, self.spec, self.y, self.guidance, self.precision = denoiser, spec, y, guidance, precision
        self.evaluations = 0  # per image
        self._around = around  # each call of the denoiser

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
        with self._around(), autocast(self.precision, x.device):
            out: Tensor = as_strips(self.denoiser(as_clips(x, self.spec.frames), t, y))
        return out.to(torch.float32, copy=True)

    def _guided(self, with_label: Tensor, without: Tensor, weight: float) -> Tensor:
        """u + w (c - u) on the guided channels; the others, and the variance's, are those with the label."""
        assert self.guidance is not None
        guided = self.guidance.channels or self.spec.channels
        c, u = with_label[:, :guided], without[:, :guided]
        return torch.cat([u + weight * (c - u), with_label[:, guided:]], dim=1)
