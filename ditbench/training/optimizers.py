"""The optimisers that a recipe names."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable

from torch import Tensor
from torch.optim import AdamW, Optimizer

from ..denoiser.parametrization import in_groups
from ..errors import BadValue
from ..extras import install
from ..tracks.track import Recipe


def make_optimizer(recipe: Recipe, parameters: Iterable[Tensor], rates: Iterable[float] | None = None) -> Optimizer:
    """The recipe's optimiser; `BadValue` if it comes from a library that is not installed.

    rates: what each parameter's learning rate is multiplied with; `set_rate` keeps them.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adan":  # Xie et al., 2022; its third beta is of the squared gradients
        return _adan()(parameters, lr=rate, betas=recipe.betas, weight_decay=decay)
    betas = (recipe.betas[0], recipe.betas[1])
    groups = parameters if rates is None else in_groups(parameters, rates, rate, decay)
    return AdamW(groups, lr=rate, betas=betas, weight_decay=decay, fused=True)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The learning rate from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_scale", 1.0)


def _adan() -> Callable[..., Optimizer]:
    try:
        return pkgutil.resolve_name("timm.optim:Adan")  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise BadValue(f"The optimizer 'adan' needs {error.name!r}: {install('ditbench[adan]')}.") from None
