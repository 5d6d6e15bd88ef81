"""How much training a run gets, and the one clock that counts it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from ..errors import BadValue

Unit = Literal["steps", "images", "seconds", "gpu_hours", "flops"]
FlopsRule = Literal[1, 2]  # how FLOPs of training are counted, as `records.facts.Cost.training_flops` has both
FLOPS_RULE: FlopsRule = 2  # of new runs

EXAMPLES = "400k-steps, 50k-images, 90s, 10min, 2h, 2gpu-hours or 1e17-flops"

_NUMBER = r"(?P<number>\d+(?:\.\d+)?)"
_COUNT = re.compile(_NUMBER + r"(?P<scale>[kM]?)-?(?P<unit>steps|images)")
_TIME = re.compile(_NUMBER + r"-?(?P<unit>s|min|h|gpu-hours)")
_FLOPS = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:e\+?\d{1,3})?)-?(?P<unit>flops)")
_FACTOR = {"k": 1_000, "M": 1_000_000, "min": 60, "h": 3600}
_MOST: Mapping[Unit, float] = {"steps": 1e12, "images": 1e15, "seconds": 1e10, "gpu_hours": 1e9, "flops": 1e30}
_UNIT: Mapping[str, Unit] = {"s": "seconds", "min": "seconds", "h": "seconds", "gpu-hours": "gpu_hours"}


@dataclass(frozen=True)
class Budget:
    """An amount of training.

    Optimiser steps, training images, seconds of training, hours of training times GPUs, or FLOPs of training: two for
    each multiply-accumulate of its forward and backward passes. A token that a pass never sees is not counted, nor is
    what checkpointing computes again; of what is drawn at random, the mean.
    """

    amount: float
    unit: Unit

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit) or not 0 < self.amount < math.inf:
            raise BadValue(f"{self.amount!r} {self.unit} is no budget. Write {EXAMPLES}.")
        if self.amount > _MOST[self.unit]:  # nobody means it, and no clock would get there
            raise BadValue(f"{self.amount!r} {self.unit} is no budget: at most {_MOST[self.unit]:g}.")

    def __str__(self) -> str:
        """One spelling for equal budgets, which `parse` reads back."""
        exact = Decimal(repr(float(self.amount))).normalize()
        if self.unit == "flops":
            return f"{exact:e}-flops".replace("e+", "e")
        if self.unit == "seconds":
            return f"{exact:f}s"
        if self.unit == "gpu_hours":
            return f"{exact:f}gpu-hours"
        return f"{exact:f}-{self.unit}" if self.amount % 1000 else f"{exact / 1000:f}k-{self.unit}"

    @property
    def is_of_time(self) -> bool:
        """Whether how much it buys depends on how fast the machine is."""
        return self.unit in ("seconds", "gpu_hours")

    @classmethod
    def parse(cls, text: str, named: Mapping[str, str] = {}) -> Budget:
        """The budget that is spelled like one of `EXAMPLES`; `BadValue` also offers the `named` ones."""
        text = text.strip()
        match = _COUNT.fullmatch(text) or _TIME.fullmatch(text) or _FLOPS.fullmatch(text)
        if not match:
            raise BadValue(f"{text!r} is no budget.{_names_like(text, named)} Write {EXAMPLES}.")
        found = match.groupdict()
        spelled = found["unit"]
        factor = _FACTOR.get(found.get("scale") or spelled, 1)
        amount = Decimal(found["number"]) * factor  # decimal: 1.1h is 3960s, not 3960.0000000000005s
        if spelled in ("steps", "images") and not float(amount).is_integer():
            raise BadValue(f"{text!r} is no whole number of {spelled}.")
        unit: Unit = _UNIT.get(spelled, spelled)  # type: ignore[arg-type]
        if not 0 < float(amount) <= _MOST[unit]:
            raise BadValue(f"{text!r} is no budget: it must be above 0, and at most {_MOST[unit]:g} {unit}.")
        return cls(float(amount), unit)


def is_of_flops(text: str) -> bool:
    """Whether this is a budget of FLOPs; what is no budget at all, as a record may have it, is none of them."""
    return _FLOPS.fullmatch(text) is not None


def _names_like(text: str, named: Mapping[str, str]) -> str:
    """The named budgets, and which of them may have been meant."""
    if not named:
        return ""
    near = " or ".join(map(repr, difflib.get_close_matches(text, named, n=2)))
    hint = f" Did you mean {near}?" if near else ""
    return f"{hint} Named: {', '.join(f'{name} ({amount})' for name, amount in named.items())}."


@dataclass
class BudgetClock:
    """Counts training only: no evaluation, no checkpoint, no report. Its state survives a resume."""

    budget: Budget
    flops_per_image: float = 0.0  # of one training image; 0: unknown
    gpus: int = 0  # that train at the same time
    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.budget.unit == "gpu_hours" and self.gpus < 1:
            raise BadValue(
                f"The budget {self.budget} needs a GPU, and none trains here. Give steps, images or minutes."
            )
        if self.budget.unit == "flops" and self.flops_per_image <= 0:
            raise BadValue(f"The budget {self.budget} needs the FLOPs of a training image, which are not known here.")

    def tick(self, images: int, seconds: float = 0.0) -> None:
        """Account for one optimiser step over `images` that took `seconds`, synchronised, or whose time comes late."""
        self.steps += 1
        self.images += images
        self.charge(seconds)

    def charge(self, seconds: float) -> None:
        """Account for the time of a step that was counted without it."""
        self.seconds += seconds

    @property
    def flops(self) -> float:
        """FLOPs of training so far."""
        return self.images * self.flops_per_image

    @property
    def gpu_hours(self) -> float:
        """Hours of training so far, times the GPUs."""
        return self.seconds * self.gpus / 3600

    @property
    def spent(self) -> float:
        """What is used up, in the budget's unit."""
        return float(getattr(self, self.budget.unit))

    @property
    def progress(self) -> float:
        """Share of the budget that is used up, in [0, 1]."""
        return min(1.0, self.spent / self.budget.amount)

    @property
    def done(self) -> bool:
        """True from the first step that reaches the budget."""
        return self.spent >= self.budget.amount

    @property
    def seconds_left(self) -> float:
        """Estimated training time to the end; 0 before the first step."""
        return self.seconds * (1 / self.progress - 1) if self.progress else 0.0

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps: counts and seconds, from which the rest follows."""
        return {"steps": self.steps, "images": self.images, "seconds": self.seconds}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from what a checkpoint kept."""
        self.steps, self.images, self.seconds = int(state["steps"]), int(state["images"]), state["seconds"]
