"""Whether a step's loss is infinite or NaN by the rounding of bfloat16 alone."""

from __future__ import annotations

import math

from ..runtime.progress import Diverged, Watch
from .checkpoint import Saved
from .trainer import Trainer


def finite_in_float32(trainer: Trainer, saved: Saved | None, step: int, watch: Watch) -> bool | None:
    """Whether float32 gives the loss of a step (from 0) that diverged a finite value, at the same weights and batch.

    They are made anew, by a trainer as new as the run was, from what was saved, if anything was. None: that can't be
    told, since now no step diverges, or another one, or since the watch says stop.
    """
    if saved is not None:
        trainer.restore(saved)
    exact = math.nan
    try:
        while trainer.clock.steps < step:
            if watch.should_stop():
                return None
            trainer.step()
        exact = trainer.loss_ahead("float32")
        trainer.step()
        trainer.settle()
    except Diverged as again:
        return math.isfinite(exact) if again.step == step else None
    return None
