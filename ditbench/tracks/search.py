"""A search for each architecture's own recipe: the space that a track declares, a point of it, and what was found.

The points are the same for every architecture (`points.py`), and a run carries its search as a `Study`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import Field

from ..storage.schema import Frozen, Name, Number, Words, digest, first_fault
from .options import TRIALS
from .recipe import Decay, Rate, Recipe, Share

SEED = 2**31  # of every trial: no track ranks it, and trials that share it differ in their recipe alone
CHOOSES = "denoise"  # the metric by which a trial is chosen: it sees the denoiser, and needs no samples
SEARCHED = ("learning_rate", "weight_decay", "beta2", "warmup")  # of a recipe, in the order of coordinates
MOST_CHOICES = 16  # that a list has

Value = TypeVar("Value")
_Range = Field(strict=False)
_Choices = Field(strict=False, min_length=2, max_length=MOST_CHOICES)


class Point(Frozen):
    """What one trial changes in the track's recipe; None: what the search leaves alone."""

    learning_rate: Rate | None = None
    weight_decay: Decay | None = None
    beta2: Share | None = None
    warmup: Share | None = None

    @property
    def told(self) -> str:
        """In words, e.g. ``learning_rate 0.00413, beta2 0.95``."""
        named = ((name, getattr(self, name)) for name in SEARCHED)
        return ", ".join(f"{name} {value:g}" for name, value in named if value is not None)

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with what this point changes in it."""
        changes: dict[str, Any] = self.model_dump(include={*SEARCHED} - {"beta2"}, exclude_none=True)
        if self.beta2 is not None:
            changes["betas"] = (*recipe.betas[:-1], self.beta2)
        return type(recipe).model_validate({**recipe.model_dump(), **changes})


class Search(Frozen, strict=True):
    """The space: a rate is drawn evenly in its logarithm, a warm-up evenly, what has choices evenly among them."""

    learning_rate: Annotated[tuple[Rate, Rate] | None, _Range] = None  # from, to
    weight_decay: Annotated[tuple[Decay, ...] | None, _Choices] = None
    beta2: Annotated[tuple[Share, ...] | None, _Choices] = None  # the last of the betas, that of the squared gradients
    warmup: Annotated[tuple[Share, Share] | None, _Range] = None  # shares of the budget, from, to
    trials: Annotated[int, Field(ge=TRIALS[0], le=TRIALS[1])] = 8  # if a command says no other number

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Search:
        if not self.searched:
            raise ValueError(f"it names nothing to search; give some of {', '.join(SEARCHED)}")
        for name in ("learning_rate", "warmup"):
            ends = getattr(self, name)
            if ends and ends[0] >= ends[1]:
                raise ValueError(f"{name} from {ends[0]:g} to {ends[1]:g} is no range: the lower end comes first")
        for name in ("weight_decay", "beta2"):
            choices = getattr(self, name) or ()
            if len(set(choices)) < len(choices):
                raise ValueError(f"{name} names a choice twice")
        return self

    @property
    def searched(self) -> list[str]:
        """What of a recipe is searched."""
        return [name for name in SEARCHED if getattr(self, name) is not None]

    def own(self, recipe: Recipe) -> Point:
        """The point where the track's own recipe is."""
        values = {**recipe.model_dump(), "beta2": recipe.betas[-1]}
        return Point(**{name: values[name] for name in self.searched})

    def at(self, unit: Sequence[float]) -> Point:
        """The point that coordinates in [0, 1) stand for, one for each thing that is searched."""
        named = dict(zip(self.searched, unit, strict=True))
        found: dict[str, float] = {}
        if self.learning_rate:
            low, high = map(math.log, self.learning_rate)
            found["learning_rate"] = _figures(math.exp(low + named["learning_rate"] * (high - low)), self.learning_rate)
        if self.weight_decay:
            found["weight_decay"] = _chosen(self.weight_decay, named["weight_decay"])
        if self.beta2:
            found["beta2"] = _chosen(self.beta2, named["beta2"])
        if self.warmup:
            low, high = self.warmup
            found["warmup"] = _figures(low + named["warmup"] * (high - low), self.warmup)
        return Point(**found)

    def check(self, recipe: Recipe) -> None:
        """`ValueError` if the recipe has no such thing, or some point gives none."""
        if self.warmup and recipe.warmup_steps:
            raise ValueError("search: warmup is a share of the budget, and the recipe's is a number of steps")
        ends = [(min(values), max(values)) for name in self.searched if (values := getattr(self, name))]
        for corner in product(*ends):
            try:
                Point(**dict(zip(self.searched, corner, strict=True))).recipe(recipe)
            except pydantic.ValidationError as error:
                raise ValueError(f"search: {first_fault(error)}") from None


def _figures(value: float, ends: tuple[float, float]) -> float:
    """Three significant figures, which a person can read, and which are the same on every machine; within the range."""
    return min(max(float(f"{value:.3g}"), ends[0]), ends[1])


def _chosen(choices: Sequence[Value], unit: float) -> Value:
    return choices[min(int(unit * len(choices)), len(choices) - 1)]


class Trial(Frozen):
    """One run of a search: where, how it ended, what came of it and what it cost."""

    point: Point
    run_id: Name
    hardware: Words = ""  # the class of it
    status: Literal["finished", "failed", "diverged"]
    value: Number | None = None  # of the metric that chooses; None: the run has none, as the next
    seconds: Number | None = None  # of training
    flops: Number | None = None  # likewise


class Study(Frozen):
    """A search: its space, where its points are from, every trial, which was chosen, and the cost of all."""

    space: Search
    sampler: Words  # that drew the points; the first is the track's own recipe
    sampler_seed: Annotated[int, Field(ge=0, lt=2**32)]
    metric: Words  # protocol of the one that chooses, the lowest
    seed: Annotated[int, Field(ge=0, lt=2**32)]  # of every trial
    trials: Annotated[tuple[Trial, ...], Field(min_length=TRIALS[0], max_length=TRIALS[1])]
    chosen: Annotated[int, Field(ge=0)]  # place among the trials, from 0
    seconds: Number  # of training, of all trials that have theirs
    flops: Number  # likewise

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Study:
        if self.chosen >= len(self.trials):
            raise ValueError(f"chosen is {self.chosen}, and there are {len(self.trials)} trials, the first of them 0")
        return self

    @property
    def best(self) -> Trial:
        """The trial that was chosen."""
        return self.trials[self.chosen]

    @property
    def points(self) -> tuple[Point, ...]:
        """Of all trials, in their order."""
        return tuple(trial.point for trial in self.trials)

    @property
    def digest(self) -> str:
        """What searches have in common that compare: the space, the points, what chooses, and the seed."""
        points = [point.model_dump(mode="json") for point in self.points]
        space = self.space.model_dump(mode="json", exclude={"trials"})
        return digest([space, points, self.metric, self.seed], 12)
