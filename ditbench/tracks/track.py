"""Track: everything that two runs must share to be compared.

A track is a TOML file. Every field but the prose goes into its hash; whoever changes one bumps `version`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from ..components import Value
from ..denoiser_spec import Space
from ..errors import BadFile, BadValue, demand
from ..storage.reading import read_toml
from ..storage.schema import Frozen, Name, Words, digest, first_fault, later
from .budget import Budget
from .guidance import Guidance
from .options import SAMPLES
from .recipe import Images, ObjectiveChoice, Recipe, without_memory
from .search import Search
from .speedrun import Speedrun

_OF_IMAGES, _OF_CLIPS = ("fid", "fd"), ("fvd",)
DISTANCES = (*_OF_IMAGES, *_OF_CLIPS)  # the metrics that a panel of extractors is made of

# Ranges end where nobody means it any more, and long before a machine would hang on it.
Side = Annotated[int, Field(gt=0, le=16_384)]  # pixels
Channels = Annotated[int, Field(gt=0, le=65_536)]
MetricName = Annotated[str, Field(pattern=r"^[^/]+(/[^/]+)?$", max_length=200)]


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
    frames: Annotated[int, Field(gt=0, le=4096)] = later(1)  # of a clip; 1: images
    interval: Annotated[int, Field(gt=0, le=4096)] = later(1)  # frames of the source from one of a clip to the next
    downsampling: Annotated[int, Field(gt=0, le=256)] = 1  # pixels per latent cell, each way
    autoencoder: Annotated[str, Field(min_length=1)] | None = None  # whose latents are meant: its name on the hub
    normalise: Literal["autoencoder", "channel"] = later("autoencoder")  # by its numbers; by each channel's, measured

    @pydantic.model_validator(mode="after")
    def _divides(self) -> DataChoice:
        if self.resolution % self.downsampling:
            raise ValueError(f"resolution {self.resolution} is no multiple of downsampling {self.downsampling}")
        if self.interval > 1 and self.frames == 1:
            raise ValueError("interval is of clips, and frames is 1")
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


def distances(frames: int) -> tuple[str, ...]:
    """Those of images, or of clips of so many frames."""
    return _OF_CLIPS if frames > 1 else _OF_IMAGES


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
    # networks whose features the latents are: rows never share a board with those of tracks that need no such
    trained_with: Annotated[tuple[Name, ...], Field(strict=False)] = later((), max_length=20)
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
        if self.space == "pixel" and self.data.normalise != "autoencoder":
            raise ValueError("normalise is of latents, and the space is pixel")
        if self.space == "pixel" and self.trained_with:
            raise ValueError("trained_with is of latents, and the space is pixel")
        if self.search is not None:
            self.search.check(self.recipe)
        return self

    @property
    def image_bytes(self) -> int:
        """Of one sample as an image or a clip, one byte for each colour of a pixel, as far as the track tells."""
        colours = 3 if self.space == "latent" else self.data.channels or 1
        return self.data.frames * colours * self.data.resolution**2

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


def load_track(path: str | Path) -> Track:
    """Read and check a track file; `BadFile` names the file and the field."""
    demand("path", path, str, Path)
    path = Path(path)
    try:
        return Track.model_validate(read_toml(path, "track file"))
    except pydantic.ValidationError as error:
        raise BadFile(f"The track file {str(path)!r} is wrong: {first_fault(error, Track)}.") from None
