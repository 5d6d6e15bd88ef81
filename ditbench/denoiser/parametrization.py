"""muP: what is to be scaled with a network's width, so that the rate that is best at one width is best at another.

Yang et al. (2022, arXiv:2203.03466), Table 3, for Adam; Zheng et al. (2025, arXiv:2505.15270) show that it holds for
diffusion transformers. It is the table that has no multipliers, so a network that was trained so is one like any other.
A plugin does nothing for it: the pair of widths in its ladder tells what grows. How its parameters start is measured.

The scores of attention stay divided by the root of a head's width: a wider size of a ladder has more heads, not wider
ones, so they do not grow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from ..components import Selection, load
from ..denoiser_spec import DenoiserSpec
from ..errors import BadValue
from .bounds import without_memory

_SAME = 1e-6  # of a factor of 1: what rounding leaves


class Widths(NamedTuple):
    """The settings of one network at three widths. All else, such as its depth, is the same."""

    narrow: dict[str, Any]  # as the pair of its ladder is
    wide: dict[str, Any]
    base: dict[str, Any]  # as the size in the middle of the ladder is, where nothing is scaled


@dataclass(frozen=True)
class Scale:
    """What a parameter's width makes of it, against the same one of the network at the base width."""

    rate: float = 1.0  # times the learning rate
    start: float = 1.0  # times the root of the mean square that it starts with


def widths_of(selection: Selection) -> Widths:
    """The settings at three widths; `BadValue` if the size is of no ladder, or an option says how wide it is."""
    architecture, base = selection.architecture, selection.architecture.base(selection.size)
    if base not in architecture.ladder:
        raise BadValue(f"{selection.label} has no ladder of sizes, whose pair of widths tells what grows.")
    ladder, middle = architecture.ladder[base], architecture.settings(base, {})
    names = {*ladder.narrow, *ladder.wide}
    if chosen := sorted(names & selection.options.keys()):
        raise BadValue(f"{selection.label}: {chosen[0]} says how wide it is, which is its ladder's to say.")
    rest = {name: value for name, value in selection.settings.items() if name not in names}
    at_base = {name: middle[name] for name in names if name in middle}
    return Widths({**rest, **at_base, **ladder.narrow}, {**rest, **at_base, **ladder.wide}, {**rest, **at_base})


def scales_of(selection: Selection, spec: DenoiserSpec) -> dict[str, Scale]:
    """What the width makes of each parameter that is trained, by its name; `BadValue` if that can't be told."""
    widths = widths_of(selection)
    with without_memory(selection.label):
        narrow, wide, base = (_shapes(_build(selection, spec, settings)) for settings in widths)
        own = selection.build(spec)
    if not narrow.keys() == wide.keys() == base.keys() == _shapes(own).keys():
        raise BadValue(f"{selection.label} has other layers at the widths of its ladder's pair; see `ditbench check`.")
    if narrow == wide:
        raise BadValue(f"{selection.label}: nothing grows between the widths of its ladder's pair.")
    return {
        name: _scale(owner, parameter.shape, base[name], _grown(narrow[name], wide[name]))
        for name, owner, parameter in _trained(own)
    }


def _grown(narrow: torch.Size, wide: torch.Size) -> tuple[bool, ...]:
    return tuple(n != w for n, w in zip(narrow, wide, strict=True))


def _scale(owner: nn.Module, shape: torch.Size, base: torch.Size, grown: tuple[bool, ...]) -> Scale:
    """Of a matrix by the number of its inputs; all else, what is added and what is multiplied, stays as it is."""
    axes = _axes(owner, len(shape), grown)
    if axes is None or not any(grown[axis] for axis in axes.inputs):
        return Scale()
    ratio = math.prod(base[axis] / shape[axis] for axis in axes.inputs)
    return Scale(rate=ratio, start=math.sqrt(ratio) if any(grown[axis] for axis in axes.outputs) else ratio)


class _Axes(NamedTuple):
    """Along which axes of a parameter inputs are summed, and along which outputs leave."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _axes(owner: nn.Module, dimensions: int, grown: tuple[bool, ...]) -> _Axes | None:
    """Those of a matrix or kernel; None: of a bias, a norm's weights or a table, whose rows are looked up or added.

    A table looks like the last layer, by shape: (classes, width). What is neither torch's linear layer nor its
    convolution is a matrix if it grows along two axes.
    """
    if dimensions < 2 or isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return None
    if isinstance(owner, _ConvTransposeNd):
        return _Axes((0, *range(2, dimensions)), (1,))
    if isinstance(owner, nn.Linear | nn.modules.conv._ConvNd) or sum(grown) > 1:
        return _Axes(tuple(range(1, dimensions)), (0,))
    return None


@torch.no_grad()
def start_as_scaled(
    network: nn.Module, scales: Mapping[str, Scale], selection: Selection, spec: DenoiserSpec, seed: int
) -> None:
    """Let the parameters of a network new from `seed` be as large as its width asks, by those at the base width.

    Both are measured: some plugins let a matrix start with what its inputs ask for already, some with a number that is
    in their paper, and some with zero, which stays. Torch's generators are as before.
    """
    if not scales:
        return
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        base = dict(_build(selection, spec, widths_of(selection).base).named_parameters())
    for name, parameter in network.named_parameters():
        if name in scales and parameter.shape != base[name].shape:
            is_now, should_be = _size(parameter), _size(base[name]) * scales[name].start
            factor = should_be / is_now if is_now and should_be else 1.0
            if abs(factor - 1) > _SAME:
                parameter.mul_(factor)


def _size(tensor: Tensor) -> float:
    """The root of the mean square."""
    return math.sqrt(float(tensor.double().square().mean()))


def in_groups(parameters: Iterable[Tensor], rates: Iterable[float], rate: float, decay: float) -> list[dict[str, Any]]:
    """Parameters of one rate together, as optimisers take them, each with what its rate was multiplied with.

    AdamW takes rate x decay of a weight away. That stays the same at every width, as it does in the papers' code, so
    where a rate is smaller the decay is larger (Wang & Aitchison, 2024, arXiv:2405.13698, for why).
    """
    found: dict[float, list[Tensor]] = {}
    for parameter, factor in zip(parameters, rates, strict=True):
        found.setdefault(factor, []).append(parameter)
    return [
        {"params": those, "lr": factor * rate, "weight_decay": decay / factor, "rate_scale": factor}
        for factor, those in found.items()
    ]


def _build(selection: Selection, spec: DenoiserSpec, settings: Mapping[str, Any]) -> nn.Module:
    return load(selection.architecture.build)(spec, **settings)  # type: ignore[no-any-return]


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, _, parameter in _trained(network)}


def _trained(network: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Each parameter that is trained, by its name, and the module that owns it."""
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            yield name, network.get_submodule(name.rpartition(".")[0]), parameter
