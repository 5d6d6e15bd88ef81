"""Networks built without memory, on the meta device, and not without end: what no machine holds is refused early."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.fx.experimental.symbolic_shapes  # what is built on the meta device needs it: loaded once, before forks
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..errors import BadValue

TENSORS = 20_000  # the largest published networks have some hundreds
NUMBERS = 10**12  # 4 TB of float32


class TooLarge(BadValue):
    """A network that no machine holds."""


@contextmanager
def without_memory(label: str) -> Iterator[None]:
    """What is built here is on the meta device. `TooLarge` once it is larger than anything that trains.

    It ends a loop over a depth of 10**26, too: at its 20,000th tensor of weights.
    """
    tensors = numbers = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, numbers
        tensors, numbers = tensors + 1, numbers + (0 if parameter is None else parameter.numel())
        if tensors > TENSORS:
            raise TooLarge(f"{label} has more than {TENSORS:,} tensors of weights; choose fewer layers.")
        if numbers > NUMBERS:
            raise TooLarge(f"{label} has {numbers:,} parameters and more, and at most {NUMBERS:,} can be; choose less.")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            yield
    except (OverflowError, MemoryError, RuntimeError, TypeError) as error:  # torch says it in any of these
        if isinstance(error, (OverflowError, MemoryError)) or "overflow" in str(error).lower():
            raise TooLarge(f"{label} has tensors that are larger than any memory; choose smaller options.") from None
        raise
    finally:
        hook.remove()
