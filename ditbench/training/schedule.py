"""What a recipe makes of a budget's course: the learning rate, and how long the EMA remembers."""

from __future__ import annotations

import math

from ..tracks.recipe import Recipe


def lr_factor(recipe: Recipe, progress: float, step: int) -> float:
    """Share of the learning rate at `progress` in [0, 1) of the budget: linear warm-up, then the decay.

    The share of the budget that `warmup_steps` take is that of the steps so far: exact unless the budget is a time.
    """
    if step < recipe.warmup_steps:
        return step / recipe.warmup_steps
    if progress < recipe.warmup:
        return progress / recipe.warmup
    if recipe.decay == "constant":
        return 1.0
    warmup = progress * recipe.warmup_steps / step if recipe.warmup_steps else recipe.warmup
    done = (progress - warmup) / (1 - warmup)
    return 1 - done if recipe.decay == "linear" else 0.5 + 0.5 * math.cos(math.pi * done)


def ema_keep(recipe: Recipe, spent: float) -> float:
    """What a step that spent this share of the budget leaves of the EMA."""
    if recipe.ema_decay is not None:
        return recipe.ema_decay
    return 0.5 ** (spent / recipe.ema_half_life) if recipe.ema_half_life else 0.0
