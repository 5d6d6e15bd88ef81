"""How a network is trained: its objective and its recipe, the track's for all or an architecture's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from ..components import Value
from ..storage.schema import Fraction, Frozen, Words, later
from .options import IMAGES

FOR_MEMORY = ("micro_batch", "checkpointing")  # of a recipe
_BETAS = {"adamw": 2, "adan": 3, "muon": 2}  # of each optimiser
_EITHER = (("warmup", "warmup_steps"), ("ema_half_life", "ema_decay"))  # of a recipe: one, or the other

# Ranges end where nobody means it any more, and long before a machine would hang on it.
Share = Annotated[float, Field(ge=0, lt=1)]  # 1 would leave nothing
Rate = Annotated[float, Field(ge=1e-12, le=1)]
Decay = Annotated[float, Field(ge=0, le=100)]
Images = Annotated[int, Field(ge=IMAGES[0], le=IMAGES[1])]  # in one batch


class ObjectiveChoice(Frozen, strict=True):
    """An objective by name, and its settings."""

    name: Words
    settings: dict[str, Value] = {}


class Recipe(Frozen, strict=True):
    """How every architecture of the track is trained."""

    optimizer: Literal["adamw", "adan", "muon"]  # muon: hidden matrices by Muon, all else by AdamW
    learning_rate: Rate
    betas: Annotated[tuple[Share, ...], Field(strict=False, min_length=2, max_length=3)]  # AdamW's; Adan has three
    weight_decay: Decay
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
    matrix_rate: Rate | None = later(None)  # Muon's; None: the learning rate
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


def without_memory(content: dict[str, Any]) -> dict[str, Any]:
    """A dump with a recipe, without what only fits training into memory."""
    recipe = {name: value for name, value in content["recipe"].items() if name not in FOR_MEMORY}
    return {**content, "recipe": recipe}
