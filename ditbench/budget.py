"""How much training a run gets, and the one clock that counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import BadValue

Unit = Literal["steps", "images", "seconds"]

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)([kM]?)-?(steps|images|s|min|h)")
_SCALE = {"": 1, "k": 1_000, "M": 1_000_000}
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Budget:
    """An amount of training: optimiser steps, training images, or seconds of training time."""

    amount: float
    unit: Unit

    def __str__(self) -> str:
        """One spelling for equal budgets, which `parse` reads back."""
        if self.unit == "seconds":
            return f"{self.amount:.10g}s"
        amount = int(self.amount)
        return f"{amount}-{self.unit}" if amount % 1000 else f"{amount // 1000}k-{self.unit}"

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``2000-steps``, ``50k-images``, ``90s``, ``10min``, ``2h``."""
        match = _BUDGET.fullmatch(text.strip())
        if not match or float(match[1]) == 0:
            raise BadValue(f"{text!r} is no budget. Write 2000-steps, 50k-images, 90s, 10min or 2h.")
        amount = float(match[1]) * _SCALE[match[2]]
        if match[3] in _SECONDS:
            return cls(amount * _SECONDS[match[3]], "seconds")
        if not amount.is_integer():
            raise BadValue(f"{text!r} is no whole number of {match[3]}.")
        return cls(amount, "steps" if match[3] == "steps" else "images")


@dataclass
class BudgetClock:
    """Counts training only: no evaluation, no checkpoint, no report. Its state survives a resume."""

    budget: Budget
    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def tick(self, images: int, seconds: float) -> None:
        """Account for one optimiser step over `images` that took `seconds`, synchronised."""
        self.steps += 1
        self.images += images
        self.seconds += seconds

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
        return {"steps": self.steps, "images": self.images, "seconds": self.seconds}

    def restore(self, state: dict[str, float]) -> None:
        self.steps, self.images, self.seconds = int(state["steps"]), int(state["images"]), state["seconds"]
