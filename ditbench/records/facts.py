"""The parts that records are made of: machine, cost, training, sampling, memory, measurements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from ..components import Value
from ..storage.schema import Count, Frozen, Name, Number, Positive, Sha256, Sha256OrEmpty, Shape, Words, later
from ..tracks.budget import FLOPS_RULE, FlopsRule
from .denoising import ErrorPoint
from .derived import RawKey, sample_error
from .fingerprint import Fingerprint

Status = Literal["finished", "failed", "diverged", "interrupted"]
Person = Annotated[str, Field(pattern=r"^[^\x00-\x1f/\\]{1,100}$")]  # a name or an account, no address and no path


SHORTEST_PAUSE = 5.0  # seconds: a process that was stopped for less was merely slow
BELOW_ZERO = "below_zero"  # in a measurement's settings: its value can't be, but is, and why
_THREADS = (" thread", " threads")  # end the name of a processor and its threads


class Environment(Frozen):
    """The machine and the software. No host name, no user name, no path."""

    ditbench: Words
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")] | None
    git_dirty: bool | None
    python: Words
    platform: Words
    torch: Words
    diffusers: Words
    torchmetrics: Words | None = None  # it has summed moments once; None: not installed
    torch_fidelity: Words | None = None  # None: a record from before it was noted
    scikit_learn: Words | None = None
    numpy: Words | None = None
    torchvision: Words | None = None
    pillow: Words | None = None
    timm: Words | None = None  # None: not installed
    cuda: Words | None  # the toolkit torch was built with, when the run used a GPU
    gpu: Words | None
    gpu_driver: Words | None
    cpu: Words
    cores: Count  # logical processors this process may use
    threads: Count  # torch's intra-op threads; part of a CPU result's bits
    memory_bytes: Count
    processes: Positive = 1  # that train and sample one run together, each on a GPU of its own if there are any
    parallel: Positive = 1  # runs at a time on the machine, each with its own GPUs or cores

    @property
    def beside_others(self) -> bool:
        """Whether its times were measured while other runs were at work on the machine."""
        return self.parallel > 1

    @property
    def hardware(self) -> str:
        """The class of hardware: the GPU's model, or the processor's and its threads."""
        return self.gpu or f"{self.cpu}, {self.threads}{_THREADS[self.threads != 1]}"


def on_threads(hardware: str, threads: int) -> str:
    """The class of hardware of a processor with other threads than the class that is given."""
    return f"{hardware.rpartition(', ')[0]}, {threads}{_THREADS[threads != 1]}"


def is_processor(hardware: str) -> bool:
    """Whether a class of hardware, named as `Environment.hardware` names it, is a processor and no GPU."""
    return hardware.endswith(_THREADS)


class Cost(Frozen):
    """What a denoiser costs before any clock runs."""

    parameters: Count  # fixed tables included
    trainable_parameters: Count
    train_only_parameters: Count  # of the above, never used by inference
    macs_per_image: Count  # forward pass at batch 1; 1 multiply-accumulate = 1, attention included
    training_macs_per_image: Count  # all forwards and backwards of one training image, without what is recomputed
    training_forwards: Annotated[int, Field(ge=1)] = 1  # that the architecture's own loss takes of an image
    outside_macs_per_image: Count = later(0)  # of training's: forwards of the networks that it is `trained_with`

    def training_flops(self, rule: FlopsRule = FLOPS_RULE) -> int:
        """FLOPs of one training image, as a budget of FLOPs counts them.

        Rule 2: two for each multiply-accumulate of training. Rule 1, of records from before it: three forwards for each
        forward of the architecture's loss, as the DiT paper estimates it, masked tokens counted as processed.
        """
        if rule == 1:
            return 3 * 2 * self.macs_per_image * self.training_forwards
        return 2 * self.training_macs_per_image


class CurvePoint(Frozen):
    """The mean loss since the point before, and what had been spent by then."""

    step: Count
    images: Count
    seconds: Number
    loss: Number


class TrainingFacts(Frozen):
    """What training did. Throughputs derive from the raw times."""

    batch_size: Count
    steps: Count
    images: Count
    seconds: Number  # optimiser steps only, synchronised
    final_loss: Number | None  # mean over the last interval of the curve
    step_seconds: Annotated[list[Number], Field(min_length=1)]  # raw; every `step_stride`-th step
    step_stride: Count
    images_per_second: Number  # at the median step
    curve: list[CurvePoint] = []  # empty: a record from before it was noted
    resumed: Count  # times the run was taken up again
    damaged_checkpoints: Count = later(0)  # that were left out then, so that it went on from the one before
    flops: Number = 0.0  # spent, as a FLOPs budget counts them
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    compiled: bool = False
    feeding: Literal["device", "streamed"] = "device"  # where the data lay
    loading_seconds: Number = 0.0  # of `seconds`: waiting for data
    compile_seconds: Number = 0.0  # these three are not part of `seconds`
    checkpoint_seconds: Number = 0.0
    evaluation_seconds: Number = 0.0
    pauses: Count = later(0)  # times that the process was stopped from outside, or its machine suspended
    paused_seconds: Number = later(0.0)  # by them, in all; no part of any other time here
    warm_compile_seconds: Number = later(0.0)  # of `compile_seconds`: for graphs that torch's cache on the disk had


class SamplingFacts(Frozen):
    """How the scored images came about."""

    sampler: Words
    steps: Count
    evaluations: Count  # denoiser evaluations per image (NFE)
    weights: Literal["ema", "raw"]
    labels_sha256: Sha256
    images_sha256: Sha256
    batch_images: Annotated[list[Count], Field(min_length=1)]
    batch_seconds: Annotated[list[Number], Field(min_length=1)]  # raw, one per batch; without decoding
    images_per_second: Number  # of the median batch
    decode_seconds: Number = 0.0  # of all latents to images
    compile_seconds: Number = later(0.0)  # no part of any other time here


class PeakMemory(Frozen):
    """A phase's peaks in bytes: the process's resident set on a CPU; on CUDA the allocator's two, and the device's."""

    resident: Count | None = None
    allocated: Count | None = None
    reserved: Count | None = None
    device_used: Count | None = None  # of the whole GPU, other processes included, seen after each step; None: not seen

    @classmethod
    def largest(cls, peaks: Sequence[PeakMemory]) -> PeakMemory:
        """The peaks of a phase that was measured in parts."""
        known = {name: [getattr(peak, name) for peak in peaks] for name in cls.model_fields}
        return cls(**{name: max((n for n in found if n is not None), default=None) for name, found in known.items()})

    def less(self, size: int) -> PeakMemory:
        """The same without something that took so many bytes all the time."""
        return PeakMemory(**{name: None if n is None else max(0, n - size) for name, n in self})


class Memory(Frozen):
    """Peak memory of the two phases. A process's resident peak can't be reset, so on a CPU sampling has none."""

    resident_at_start: Count  # libraries and data, before the network is built
    training: PeakMemory
    sampling: PeakMemory


class Measurement(Frozen):
    """One number and all it takes to read it."""

    protocol: Annotated[
        str, Field(pattern=r"^[a-z0-9._-]+/[a-z0-9._+-]+$", max_length=200)
    ]  # e.g. "fid1k/digits-cnn"; numbers of different protocols never share a column
    metric: Words
    value: Number
    spread: Number | None = None  # deviation of subsets, splits or halves, or a jackknife's standard error
    higher_is_better: bool
    samples: Count
    reference_samples: Count | None  # None: not known (moments from a file), or the metric has no reference
    reference_sha256: Sha256 | None = None  # of the real images, or of the file that holds their moments
    features_sha256: Sha256 | None = None  # of the extractor's weights
    settings: dict[str, Value] = {}
    raw: dict[RawKey, list[Number]] = {}  # what value and spread follow from, as `derived.of_raw` has it

    @property
    def remark(self) -> str:
        """What a reader must know of the value, in words; empty: nothing."""
        why = self.settings.get(BELOW_ZERO)
        return f"{self.protocol} is below 0 by {why}; read it as about 0" if why and self.value < 0 else ""

    @property
    def sample_error(self) -> float | None:
        """Standard error that the choice of samples gives the value; None: not known, as of KID's random subsets."""
        return sample_error(self.value, self.raw, disjoint="splits" in self.settings)


class Milestone(Frozen):
    """The EMA weights measured on the way, at a share of the budget."""

    at: Annotated[Number, Field(gt=0, lt=1)]
    steps: Count
    images: Count
    seconds: Number
    flops: Number
    metrics: list[Measurement]


class Work(Frozen):
    """What the process that trains and samples states of it. The rest is found in the files that it leaves."""

    cost: Cost
    training: TrainingFacts
    memory: Memory
    reached: list[Milestone]  # whose samples are yet to be measured
    fingerprint: Fingerprint | None = None
    denoising_seconds: Number = 0.0  # of the curves that were not found with samples
    points: list[ErrorPoint] = []  # found on the way


class Reconstruction(Frozen):
    """How close to held-out images their decoded latents are: nothing that is made of such latents is closer."""

    features: Name  # the extractor
    features_sha256: Sha256  # its weights
    rfid: Number  # Fréchet distance of the decoded from the images themselves
    psnr: Number | None  # dB, of the mean squared error over all bytes of all images; None: not one byte differs
    images: Annotated[int, Field(ge=2)]
    images_sha256: Sha256


class DataFacts(Frozen):
    """What was trained on. No path."""

    name: Words
    examples: Count
    shape: Shape  # (C, H, W) of what the denoiser sees, of clips (F, C, H, W)
    classes: Count
    skipped: Count = 0  # images that were left out because they could not be read
    autoencoder: Words = ""  # of latents, by its name
    autoencoder_sha256: Sha256OrEmpty = ""
    reconstruction: tuple[Reconstruction, ...] = later(())  # of the autoencoder, where it was measured


class RawWeights(Frozen):
    """The weights as training left them, not averaged: sampled and measured like the EMA, when that was asked for."""

    created: datetime
    environment: Environment
    sampling: SamplingFacts
    metrics: list[Measurement]
