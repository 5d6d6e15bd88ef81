"""Track: everything that two runs must share to be compared. RunConfig: one run of one track.

A track is a TOML file. Every field but the prose goes into its hash; whoever changes one bumps `version`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import ConfigDict, Field

from .budget import Budget
from .components import Space, Value, label
from .errors import BadFile, BadValue
from .guidance import Guidance

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
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


class Recipe(Frozen):
    """How every architecture of the track is trained."""

    optimizer: Literal["adamw"]
    learning_rate: Annotated[float, Field(gt=0)]
    betas: tuple[Fraction, Fraction]
    weight_decay: Annotated[float, Field(ge=0)]
    batch_size: Positive
    warmup: Fraction  # share of the budget over which the learning rate rises from 0
    decay: Literal["constant", "cosine"]  # what it does after that, down to 0 at the end of the budget
    label_dropout: Fraction  # probability that a training label becomes the null label
    ema_half_life: Fraction  # share of the budget after which a weight has lost half its say in the EMA
    precision: Literal["float32"]


class SamplerChoice(Frozen):
    """How images are sampled for evaluation."""

    name: str
    steps: Positive
    batch_size: Positive
    guidance: Guidance | None = None


class Evaluation(Frozen):
    """What is measured on the samples."""

    samples: Annotated[int, Field(ge=20)]  # labels are balanced: image i has class i mod classes
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
    dataset: str
    space: Space
    size: str  # the architectures' default size
    budget: str  # the default budget
    objective: ObjectiveChoice
    recipe: Recipe
    sampler: SamplerChoice
    evaluation: Evaluation

    @property
    def hash(self) -> str:
        """Over all that has a meaning: the prose and the defaults that a run overrides stay out."""
        prose = {"description", "size", "budget"}
        return digest(self.model_dump(mode="json", exclude=prose, exclude_none=True), 12)


def load_track(path: Path) -> Track:
    """Read and check a track file; `BadFile` names the file and the field."""
    try:
        track = Track.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadFile(f"The track file {str(path)!r} can't be read: {error}.") from None
    except pydantic.ValidationError as error:
        raise BadFile(f"The track file {str(path)!r} is wrong: {first_fault(error)}.") from None
    Budget.parse(track.budget)
    return track


def first_fault(error: pydantic.ValidationError) -> str:
    """Field and fault of the first of a validation's errors, in one line."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"]) or "the whole"
    return f"{place}: {' '.join(fault['msg'].split())}"


class RunConfig(Frozen):
    """One run, fully named. Two equal configs are the same run, on the same kind of device."""

    track: Track
    architecture: str
    size: str
    options: dict[str, Value] = {}  # only what differs from the architecture's defaults
    settings: dict[str, Value | None]  # everything the network is built with
    paper: str = ""
    distribution: str
    distribution_version: str
    source_sha256: str  # of the plugin's Python files: an edited block is another run
    budget: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: str  # "cpu", "cuda", "cuda:1"
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
        out = {"track", "paper", "device", "keep_samples", "raw_weights", "checkpoint_seconds"}
        kind = self.device.partition(":")[0]
        return digest([self.model_dump(mode="json", exclude=out), self.track.hash, kind], 12)

    def with_samples(self, count: int) -> RunConfig:
        """The same run, scored on another number of samples: no longer what its track says."""
        evaluation = Evaluation.model_validate({**self.track.evaluation.model_dump(), "samples": count})
        return self.model_copy(update={"track": self.track.model_copy(update={"evaluation": evaluation})})

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
