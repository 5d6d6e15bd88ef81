"""What a run is made of beside its architecture: data, objective, sampler; and where runs happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..names import check_name, check_reference
from .architecture import Value
from .references import ObjectReference


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Real images with labels. ``load(request)`` takes a `ditbench.Request`, returns `ditbench.Data`."""

    name: str
    load: ObjectReference
    place: Literal["none", "optional", "required"] = "none"  # whether a run's `data` says where it is
    description: str = ""

    def __post_init__(self) -> None:
        check_name("dataset", self.name)
        check_reference("dataset", self.name, self.load)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How x_t is made and what is regressed. ``make(**settings)`` returns a `ditbench.DiffusionObjective`.

    A track's settings override those of the record.
    """

    name: str
    make: ObjectReference
    settings: Mapping[str, Value] = field(default_factory=dict)
    description: str = ""

    def __post_init__(self) -> None:
        check_name("objective", self.name)
        check_reference("objective", self.name, self.make)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A way to walk from noise to an image; ``sample(walk)`` takes a `ditbench.Walk`.

    What else it takes, as keywords with defaults, are its settings, which a track may change.

    ``times(steps)`` takes the settings that a track changes, too, and returns the times in [0, 1000] at which it asks
    the denoiser for an image, one for each evaluation, in any order. `ditbench records validate` counts the evaluations
    of a record again by it; without it, it can't. Keep it in a module that imports no torch.
    """

    name: str
    sample: ObjectReference
    objectives: tuple[str, ...]  # the objectives whose denoisers it can drive
    min_steps: int = 1
    max_steps: int | None = None
    times: ObjectReference | None = None
    description: str = ""

    def __post_init__(self) -> None:
        check_name("sampler", self.name)
        check_reference("sampler", self.name, self.sample)
        if self.times is not None:
            check_reference("sampler", self.name, self.times)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Where runs happen. ``make(wishes)`` takes `ditbench.Wishes` and returns a `ditbench.Engine`.

    It raises `BadValue` for a wish that it can't fulfil.
    """

    name: str
    make: ObjectReference
    description: str = ""

    def __post_init__(self) -> None:
        check_name("executor", self.name)
        check_reference("executor", self.name, self.make)
