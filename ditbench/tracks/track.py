"""Track: everything that two runs must share to be compared.

A track is a TOML file. Every field but the prose goes into its hash; whoever changes one bumps `version`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from ..components import Space, Value
from ..errors import BadFile, BadValue, demand
from ..storage.reading import read_toml
from ..storage.schema import Fraction, Frozen, Name, Words, digest, first_fault, later
from .budget import Budget
from .guidance import Guidance
from .options import IMAGES, SAMPLES
from .search import Search
from .speedrun import Speedrun

DISTANCES = ("fid", "fd")  # the metrics that a panel of extractors is made of
FOR_MEMORY = ("micro_batch", "checkpointing")  # of a recipe
_BETAS = {"adamw": 2, "adan": 3, "muon": 2}  # of each optimiser
_EITHER = (("warmup", "warmup_steps"), ("ema_half_life", "ema_decay"))  # of a recipe: one, or the other

# Ranges end where nobody means it any more, and long before a machine would hang on it.
Share = Annotated[float, Field(ge=0, lt=1)]  # 1 would leave nothing
Images = Annotated[int, Field(ge=IMAGES[0], le=IMAGES[1])]  # in one batch
Side = Annotated[int, Field(gt=0, le=16_384)]  # pixels
Channels = Annotated[int, Field(gt=0, le=65_536)]
MetricName = Annotated[str, Field(pattern=r"^[^/]+(/[^/]+)?$", max_length=200)]


class ObjectiveChoice(Frozen, strict=True):
    """An objective by name, and its settings."""

    name: Words
    settings: dict[str, Value] = {}


class DataChoice(Frozen, strict=True):
    """What every architecture of the track is trained on.

    What is known of the data beforehand (`channels` to `autoencoder`) is what a ranked run must find: with other
    data a run is carried out all the same, and marked.
    """

    dataset: Annotated[str, Field(pattern="^[^:]+(:.+)?$", max_length=300)]  # its name, or "hf:NAME"
    resolution: Side  # of the images, in pixels, before any autoencoder
    flip: bool = False  # half of the visits to an image see it mirrored
    posterior: Literal["sample", "mean"] = "sample"  # latents: drawn anew at each visit, or their mean
    channels: Channels | None = None  # of what the denoiser sees
    images: Annotated[int, Field(gt=0, le=10**12)] | None = None  # in the training split
    classes: Annotated[int, Field(ge=0, le=10**7)] | None = None
    downsampling: Annotated[int, Field(gt=0, le=256)] = 1  # pixels per latent cell, each way
    autoencoder: Annotated[str, Field(min_length=1)] | None = None  # whose latents are meant: its name on the hub

    @pydantic.model_validator(mode="after")
    def _divides(self) -> DataChoice:
        if self.resolution % self.downsampling:
            raise ValueError(f"resolution {self.resolution} is no multiple of downsampling {self.downsampling}")
        return self


class Recipe(Frozen, strict=True):
    """How every architecture of the track is trained."""

    optimizer: Literal["adamw", "adan", "muon"]  # muon: hidden matrices by Muon, all else by AdamW
    learning_rate: Annotated[float, Field(ge=1e-12, le=1)]
    betas: Annotated[tuple[Share, ...], Field(strict=False, min_length=2, max_length=3)]  # AdamW's; Adan has three
    weight_decay: Annotated[float, Field(ge=0, le=100)]
    batch_size: Images
    micro_batch: Images | None = None  # images in one pass; the gradients of several make a batch. None: all at once *
    warmup: Fraction = 0.0  # share of the budget over which the learning rate rises from 0
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)] = 0  # or the number of steps
    decay: Literal["constant", "cosine", "linear"] = "constant"  # after that, down to 0 at the end of the budget
    clip_norm: Annotated[float, Field(ge=1e-9, le=1e6)] | None = None  # largest norm of the gradient
    label_dropout: Share = 0.0  # probability that a training label becomes the null label
    ema_half_life: Fraction | None = None  # share of the budget after which a weight has lost half its say in the EMA
    ema_decay: Share | None = None  # or what a step leaves of the EMA; exactly one
    precision: Literal["float32", "tf32", "bfloat16", "auto"] = "float32"  # auto: bfloat16 on CUDA, float32 on a CPU
    compile: Literal["on", "off", "blocks", "auto"] = "off"  # the network whole; auto: its blocks, on CUDA alone *
    checkpointing: bool = False  # recompute activations in the backward pass, by the architecture's option *
    parametrization: Literal["standard", "mup"] = later("standard")  # mup: start and rates scaled by the width
    matrix_rate: Annotated[float, Field(ge=1e-12, le=1)] | None = later(None)  # Muon's; None: the learning rate
    momentum: Share | None = later(None)  # Muon's; None: 0.95
    # * what a device asks for: it changes no result but by rounding, so a run may set it; no hash has `FOR_MEMORY`

    @property
    def moments(self) -> int:
        """Tensors that the optimiser keeps of each weight."""
        return {"adamw": 2, "adan": 4, "muon": 2}[self.optimizer]

    @property
    def learns(self) -> dict[str, Any]:
        """The fields that have a say in what is learned."""
        return self.model_dump(exclude={*FOR_MEMORY, "compile"})

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with some fields changed; of two that exclude each other, the one that is named takes the place.

        `pydantic.ValidationError` if that gives no recipe.
        """
        merged = {**self.model_dump(), **changes}
        for one, other in (*_EITHER, *(pair[::-1] for pair in _EITHER)):
            if one in changes and other not in changes:
                merged[other] = type(self).model_fields[other].default
        return type(self).model_validate(merged)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if (self.ema_half_life is None) == (self.ema_decay is None):
            raise ValueError("give either ema_half_life or ema_decay")
        if self.warmup and self.warmup_steps:
            raise ValueError("give either warmup or warmup_steps")
        if max(self.learning_rate, self.matrix_rate or 0.0) * self.weight_decay >= 1:
            raise ValueError(f"a weight_decay of {self.weight_decay:g} takes all of a weight in one step")
        if len(self.betas) != _BETAS[self.optimizer]:
            raise ValueError(f"{self.optimizer} has not {len(self.betas)} betas")
        if self.parametrization == "mup" and self.optimizer != "adamw":
            raise ValueError(f"parametrization mup is of Adam's rate, and the optimizer is {self.optimizer}")
        if self.optimizer != "muon" and (self.matrix_rate, self.momentum) != (None, None):
            raise ValueError(f"matrix_rate and momentum are Muon's, and the optimizer is {self.optimizer}")
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of micro_batch {self.micro_batch}")
        return self


class SamplerChoice(Frozen, strict=True):
    """How images are sampled for evaluation."""

    name: Words
    steps: Annotated[int, Field(gt=0, le=100_000)]
    batch_size: Images
    guidance: Guidance | None = None
    settings: dict[str, Value] = later({})


def panel(features: str) -> list[str]:
    """The extractors that the second half of a metric's name stands for: "a" for one, "a+b" for several."""
    return features.split("+")


class EvaluationChoice(Frozen, strict=True):
    """What is measured on the samples."""

    samples: Annotated[int, Field(ge=SAMPLES[0], le=SAMPLES[1])]
    labels: Literal["balanced", "random"] = "balanced"  # image i has class i mod classes; or drawn from the seed
    features: Words  # the feature extractor of all metrics that name none
    metrics: Annotated[
        tuple[MetricName, ...], Field(strict=False, min_length=1)
    ]  # "fid" or "fd/dinov2-vit-l-14"; the first one ranks
    precision: Literal["float32", "tf32", "bfloat16"] = later("float32")  # of decoder and extractors; a CPU has no TF32
    denoised: Annotated[int, Field(ge=20, le=50_000)] = later(256)  # held-out images of metrics that see the denoiser
    denoised_on_the_way: Annotated[int, Field(ge=0, le=50_000)] = later(0)  # of these, seen at ten points of a run

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The metrics, each with its feature extractor."""
        split = [metric.partition("/") for metric in self.metrics]
        return [(name, extractor or self.features) for name, _, extractor in split]


def lacking(evaluation: EvaluationChoice, features: str) -> list[str]:
    """The extractors of a panel whose own Fréchet distance is not among the metrics."""
    measured = [extractor for name, extractor in evaluation.choices if name in DISTANCES]
    return [extractor for extractor in panel(features) if extractor not in measured]


class Track(Frozen, strict=True):
    """A versioned, hashed protocol."""

    name: Name
    version: Annotated[int, Field(gt=0, le=1_000_000)]
    description: str = ""
    space: Space
    size: Annotated[Words, Field(min_length=1)]  # the architectures' default size
    budget: Words  # the default budget, or the name of one
    budgets: dict[Name, Words] = {}  # by name: smoke, short, standard, paper
    data: DataChoice
    objective: ObjectiveChoice
    recipe: Recipe
    sampler: SamplerChoice
    evaluation: EvaluationChoice
    seeds: Annotated[int, Field(ge=3, le=1000)] = later(3)  # that a row needs for a rank, from 0 on: no fewer, no more
    target: Annotated[float, Field(ge=-1e6, le=1e6)] | None = (
        None  # a value of the first metric: boards tell when training got there
    )
    search: Search | None = later(None)  # where the tuned ruleset looks for each architecture's own recipe
    speedrun: Speedrun | None = later(None)  # what the speedrun ruleset fixes

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Track:
        for budget in (self.budget, *self.budgets):
            try:
                self.amount(budget)
            except BadValue as fault:
                raise ValueError(f"budget {budget!r}: {fault}") from None
        if self.space == "pixel" and (self.data.downsampling > 1 or self.data.autoencoder):
            raise ValueError("downsampling and autoencoder are of latents, and the space is pixel")
        if self.space == "pixel" and self.data.posterior != "sample":
            raise ValueError("posterior is of latents, and the space is pixel")
        if self.search is not None:
            self.search.check(self.recipe)
        return self

    @property
    def image_bytes(self) -> int:
        """Of one sample as an image, one byte for each colour of a pixel, as far as the track tells."""
        colours = 3 if self.space == "latent" else self.data.channels or 1
        return colours * self.data.resolution**2

    @property
    def hash(self) -> str:
        """Over all that has a meaning: the prose, the defaults that a run overrides and how boards read stay out.

        So does the search: a run's study has it.
        """
        out = {"description", "size", "budget", "budgets", "seeds", "target", "search", "speedrun"}
        content = self.model_dump(mode="json", exclude=out, exclude_none=True)
        return digest(without_memory(content), 12)

    @property
    def all_seeds(self) -> str:
        """The seeds that a row needs, as the command line takes them."""
        return ",".join(map(str, range(self.seeds))) if self.seeds < 6 else f"0-{self.seeds - 1}"

    def seeds_of(self, ruleset: str) -> int:
        """How many seeds a row needs under a ruleset."""
        return self.speedrun.seeds if self.speedrun and ruleset == "speedrun" else self.seeds

    def amount(self, budget: str | None) -> Budget:
        """The budget of that name, or that is spelled so; by default the track's."""
        spelled = self.budget if budget is None else budget
        return Budget.parse(self.budgets.get(spelled, spelled), self.budgets)


def without_memory(content: dict[str, Any]) -> dict[str, Any]:
    """A dump with a recipe, without what only fits training into memory."""
    recipe = {name: value for name, value in content["recipe"].items() if name not in FOR_MEMORY}
    return {**content, "recipe": recipe}


def load_track(path: str | Path) -> Track:
    """Read and check a track file; `BadFile` names the file and the field."""
    demand("path", path, str, Path)
    path = Path(path)
    try:
        return Track.model_validate(read_toml(path, "track file"))
    except pydantic.ValidationError as error:
        raise BadFile(f"The track file {str(path)!r} is wrong: {first_fault(error, Track)}.") from None
