"""Track: everything that two runs must share to be compared. RunConfig: one run of one track.

A track is a TOML file. Every field but the prose goes into its hash; whoever changes one bumps `version`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field

from .budget import Budget
from .components import Space, Value, label
from .errors import BadFile, BadValue
from .guidance import Guidance

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
FOR_MEMORY = ("micro_batch", "checkpointing")  # of a recipe
Ruleset = Literal["matched", "native"]  # everybody's recipe; or that of the architecture's own paper
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]  # names files: no separators


class Frozen(pydantic.BaseModel):
    """Unknown fields are refused and nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def digest(content: object, length: int = 64) -> str:
    """sha256 of the canonical JSON of `content`, its first `length` hex digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


class ObjectiveChoice(Frozen):
    """An objective by name, and its settings."""

    name: str
    settings: dict[str, Value] = {}


class DataChoice(Frozen):
    """What every architecture of the track is trained on.

    What is known of the data beforehand (`channels` to `autoencoder`) is what a ranked run must find: with other
    data a run is carried out all the same, and marked.
    """

    dataset: str  # its name, or "hf:NAME"
    resolution: Positive  # of the images, in pixels, before any autoencoder
    flip: bool = False  # half of the visits to an image see it mirrored
    posterior: Literal["sample", "mean"] = "sample"  # latents: drawn anew at each visit, or their mean
    channels: Positive | None = None  # of what the denoiser sees
    images: Positive | None = None  # in the training split
    classes: Annotated[int, Field(ge=0)] | None = None
    downsampling: Positive = 1  # pixels per latent cell, each way
    autoencoder: str | None = None  # the one whose latents are meant, by its name on the Hugging Face hub


class Recipe(Frozen):
    """How every architecture of the track is trained."""

    optimizer: Literal["adamw", "adan"]
    learning_rate: Annotated[float, Field(gt=0)]
    betas: Annotated[tuple[Fraction, ...], Field(min_length=2, max_length=3)]  # Adan has three
    weight_decay: Annotated[float, Field(ge=0)]
    batch_size: Positive
    micro_batch: Positive | None = (
        None  # images in one pass; the gradients of several make a batch. None: all at once *
    )
    warmup: Fraction = 0.0  # share of the budget over which the learning rate rises from 0
    warmup_steps: Annotated[int, Field(ge=0)] = 0  # or the number of steps
    decay: Literal["constant", "cosine"] = "constant"  # after that, down to 0 at the end of the budget
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # largest norm of the gradient
    label_dropout: Fraction = 0.0  # probability that a training label becomes the null label
    ema_half_life: Fraction | None = None  # share of the budget after which a weight has lost half its say in the EMA
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None  # or what a step leaves of the EMA; exactly one
    precision: Literal["float32", "tf32", "bfloat16", "auto"] = "float32"  # auto: bfloat16 on CUDA, float32 on a CPU
    compile: Literal["on", "off", "auto"] = "off"  # auto: on CUDA alone
    checkpointing: bool = False  # recompute activations in the backward pass, by the architecture's option *
    # * what a device's memory asks for: it changes no result but by rounding, so a run may set it and no hash has it

    @property
    def learns(self) -> dict[str, Any]:
        """The fields that have a say in what is learned."""
        return self.model_dump(exclude=set(FOR_MEMORY))

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if (self.ema_half_life is None) == (self.ema_decay is None):
            raise ValueError("give either ema_half_life or ema_decay")
        if self.warmup and self.warmup_steps:
            raise ValueError("give either warmup or warmup_steps")
        if len(self.betas) != {"adamw": 2, "adan": 3}[self.optimizer]:
            raise ValueError(f"{self.optimizer} has not {len(self.betas)} betas")
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of micro_batch {self.micro_batch}")
        return self


class SamplerChoice(Frozen):
    """How images are sampled for evaluation."""

    name: str
    steps: Positive
    batch_size: Positive
    guidance: Guidance | None = None


class Evaluation(Frozen):
    """What is measured on the samples."""

    samples: Annotated[int, Field(ge=20)]
    labels: Literal["balanced", "random"] = "balanced"  # image i has class i mod classes; or drawn from the seed
    features: str  # the feature extractor of all metrics that name none
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]  # "fid" or "fd/dinov2-vit-l-14"; the first one ranks

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The metrics, each with its feature extractor."""
        split = [metric.partition("/") for metric in self.metrics]
        return [(name, extractor or self.features) for name, _, extractor in split]


class Track(Frozen):
    """A versioned, hashed protocol."""

    name: Name
    version: Positive
    description: str = ""
    space: Space
    size: str  # the architectures' default size
    budget: str  # the default budget, or the name of one
    budgets: dict[str, str] = {}  # by name: smoke, short, standard, paper
    data: DataChoice
    objective: ObjectiveChoice
    recipe: Recipe
    sampler: SamplerChoice
    evaluation: Evaluation
    target: float | None = None  # a value of the first metric: boards tell when training got there

    @property
    def hash(self) -> str:
        """Over all that has a meaning: the prose, the defaults that a run overrides and how boards read stay out."""
        out = {"description", "size", "budget", "budgets", "target"}
        content = self.model_dump(mode="json", exclude=out, exclude_none=True)
        return digest(_without_memory(content), 12)

    def amount(self, budget: str | None) -> Budget:
        """The budget of that name, or that is spelled so; by default the track's."""
        spelled = budget or self.budget
        return Budget.parse(self.budgets.get(spelled, spelled), self.budgets)


def _without_memory(content: dict[str, Any]) -> dict[str, Any]:
    """A dump with a recipe, without what only fits training into memory."""
    recipe = {name: value for name, value in content["recipe"].items() if name not in FOR_MEMORY}
    return {**content, "recipe": recipe}


def load_track(path: Path) -> Track:
    """Read and check a track file; `BadFile` names the file and the field."""
    try:
        track = Track.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadFile(f"The track file {str(path)!r} can't be read: {error}.") from None
    except pydantic.ValidationError as error:
        raise BadFile(f"The track file {str(path)!r} is wrong: {first_fault(error)}.") from None
    for budget in (track.budget, *track.budgets):
        track.amount(budget)
    return track


def first_fault(error: pydantic.ValidationError) -> str:
    """Field and fault of the first of a validation's errors, in one line."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"]) or "the whole"
    return f"{place}: {' '.join(fault['msg'].split())}"


class RunConfig(Frozen):
    """One run, fully named. Two equal configs are the same run, on the same class of hardware."""

    track: Track
    architecture: str
    size: str
    options: dict[str, Value] = {}  # only what differs from the architecture's defaults
    settings: dict[str, Value | None]  # everything the network is built with
    paper: str = ""
    distribution: str
    distribution_version: str
    source_sha256: str  # of the plugin's Python files: an edited block is another run
    ruleset: Ruleset = "matched"
    recipe: Recipe  # the track's, or with what the architecture's paper changes
    objective: ObjectiveChoice
    budget: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: str  # "cpu", "cuda", "cuda:1"
    hardware: str = ""  # the class of it, known once the machine has been looked at
    data: str = ""  # what --data says: where this machine has the data
    reference: str = ""  # what --reference says: real images or their moments, instead of the data's own
    data_sha256: str = ""  # of what is found there, known once it has been opened
    reference_sha256: str = ""
    deviations: tuple[str, ...] = ()  # why the run can't be ranked on its track
    skip_bad: bool = False  # leave unreadable images out, and count them
    offline: bool = False
    eval_at: tuple[Fraction, ...] = ()  # shares of the budget at which to measure, too
    keep_samples: bool = False
    raw_weights: bool = False  # also measure the weights as training left them
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 20.0  # training time between checkpoints

    @property
    def label(self) -> str:
        """The architecture as the command line spells it, e.g. ``dit:S/2+conditioning=adaln``."""
        return label(self.architecture, self.size, self.options)

    @property
    def hash(self) -> str:
        """Identity of the run: whatever may change its result. Prose and what is merely kept stay out."""
        out = {"track", "paper", "device", "data", "reference", "deviations", "skip_bad", "offline", "eval_at"}
        out |= {"keep_samples", "raw_weights", "checkpoint_seconds"}
        kind = self.device.partition(":")[0]
        return digest([_without_memory(self.model_dump(mode="json", exclude=out)), self.track.hash, kind], 12)

    @property
    def run_id(self) -> str:
        """Name of the run's folder: readable, unique, and free of separators."""
        size = self.size.replace("/", "-")
        return f"{self.architecture}-{size}-seed{self.seed}-{self.hash[:8]}"


def check_seeds(seeds: object) -> tuple[int, ...]:
    """Distinct whole numbers in [0, 2**32), or a `BadValue`."""
    if not isinstance(seeds, (list, tuple)) or not seeds:
        raise BadValue(f"Seeds {seeds!r} are no list of whole numbers such as 0,1,2.")
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise BadValue(f"Seed {seed!r} is no whole number from 0 to {2**32 - 1}.")
    if len(set(seeds)) < len(seeds):
        raise BadValue(f"Seeds {', '.join(map(str, seeds))}: one stands twice.")
    return tuple(seeds)
