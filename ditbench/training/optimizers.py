"""The optimisers that a recipe names."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ..denoiser.parametrization import in_groups
from ..errors import BadValue
from ..extras import install
from ..runtime.compiling import blocks_of
from ..tracks.recipe import Recipe

MOMENTUM = 0.95  # of Muon, if a recipe gives no other


def make_optimizer(
    recipe: Recipe,
    parameters: Iterable[Tensor],
    *,
    rates: Iterable[float] | None = None,
    matrices: Sequence[Tensor] = (),
) -> Optimizer:
    """The recipe's optimiser; `BadValue` if it comes from a library that is not installed.

    rates: what each parameter's learning rate is multiplied with; `set_rate` keeps them. matrices: those of the
    parameters that Muon trains, if the recipe has it; see `hidden_matrices`.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adan":  # Xie et al., 2022; its third beta is of the squared gradients
        return _adan()(parameters, lr=rate, betas=recipe.betas, weight_decay=decay)
    betas = (recipe.betas[0], recipe.betas[1])
    if recipe.optimizer == "adamw":
        groups = parameters if rates is None else in_groups(parameters, rates, rate, decay)
        return AdamW(groups, lr=rate, betas=betas, weight_decay=decay, fused=True)
    muon, chosen = _muon(), set(map(id, matrices))
    others = AdamW([one for one in parameters if id(one) not in chosen], lr=rate, betas=betas, weight_decay=decay)
    if not matrices:
        return others
    scale, momentum = (recipe.matrix_rate or rate) / rate, MOMENTUM if recipe.momentum is None else recipe.momentum
    # As large a step as Adam's, of about 0.2 per weight (Liu et al., 2025), so that one rate can serve both.
    settings = {"momentum": momentum, "weight_decay": decay, "adjust_lr_fn": "match_rms_adamw"}
    return _Both(muon([{"params": list(matrices), "rate_scale": scale}], lr=scale * rate, **settings), others)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The learning rate from now on; a group with a scale has it times that."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_scale", 1.0)


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """The weights of linear layers in the repeated blocks: what Muon is for. Embeddings and heads are none."""
    layers = [part for block in blocks_of(network) for part in block.modules() if isinstance(part, nn.Linear)]
    return list({id(layer.weight): layer.weight for layer in layers if layer.weight.requires_grad}.values())


class _Both(Optimizer):
    """Two optimisers of different parameters as one: their groups, and one state."""

    def __init__(self, one: Optimizer, other: Optimizer) -> None:
        self._parts = (one, other)
        self.defaults: dict[str, Any] = {}
        self.param_groups = [*one.param_groups, *other.param_groups]  # the same objects
        self.state = other.state = one.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Of both."""
        for part in self._parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of both."""
        for part in self._parts:
            part.zero_grad(set_to_none)


def _adan() -> Callable[..., Optimizer]:
    try:
        return pkgutil.resolve_name("timm.optim:Adan")  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise BadValue(f"The optimizer 'adan' needs {error.name!r}: {install('ditbench[adan]')}.") from None


def _muon() -> Callable[..., Optimizer]:
    """Jordan et al., 2024, as torch has it: the momentum of a matrix, made orthogonal by Newton and Schulz."""
    try:
        return pkgutil.resolve_name("torch.optim:Muon")  # type: ignore[no-any-return]
    except AttributeError:
        raise BadValue("The optimizer 'muon' needs torch 2.9 or newer.") from None
