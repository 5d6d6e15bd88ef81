"""Checks of a ladder of sizes: its rungs cost what they are named after, and its pair differs in width alone.

Both count on the meta device, which takes no memory, with the architecture's own options, which a ladder is made for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...components import Selection
from ...denoiser_spec import DenoiserSpec
from ...ladder import NARROW, WIDE, Ladder
from ..bounds import without_memory
from ..cost import cost_of_selection
from ..interface import example_batch
from .subject import Check, NotHere, Subject, require

_OFF = 0.1  # of a rung's factor, by which it may be missed
_TIMES = 3  # as wide
_ROUNDED = 0.05  # of that; a hidden width may be rounded to a multiple of 8
_LEAST = 4.0  # times the parameters: matrices have nine times as many, tables three times


def _rungs(subject: Subject) -> str:
    base, ladder = ladder_of(subject)
    spec = subject.selection.made_for or subject.spec
    middle = _training_macs(subject, base, spec)
    found = {
        factor: _training_macs(subject, name, spec) / middle
        for factor, name in zip(sorted(ladder.rungs), ladder.names(base), strict=False)  # behind them the pair
    }
    told = ", ".join(f"{share:.3g} for {factor:g}" for factor, share in found.items())
    off = [factor for factor, share in found.items() if abs(share / factor - 1) > _OFF]
    require(not off, f"{base}: {told}")
    return told


def _training_macs(subject: Subject, size: str, spec: DenoiserSpec) -> int:
    return cost_of_selection(_size(subject, size), spec).training_macs_per_image


def _width_pair(subject: Subject) -> str:
    base, _ = ladder_of(subject)
    spec = subject.selection.made_for or subject.spec
    narrow, wide = (_form(_size(subject, f"{base}-{name}"), spec) for name in (NARROW, WIDE))
    require(narrow.shapes.keys() == wide.shapes.keys(), f"of {base}-{NARROW} and {base}-{WIDE} one has other layers")
    odd = next((name for name in narrow.shapes if not _grown(narrow.shapes[name], wide.shapes[name])), None)
    if odd is not None:
        require(False, f"{odd} is {[*narrow.shapes[odd]]} in {base}-{NARROW}, {[*wide.shapes[odd]]} in {base}-{WIDE}")
    heads = f"heads are {narrow.heads} wide in {base}-{NARROW}, {wide.heads} in {base}-{WIDE}"
    require(narrow.heads == wide.heads, heads)
    times = wide.parameters / narrow.parameters
    require(times >= _LEAST, f"{base}-{WIDE} has but {times:.1f} times the parameters of {base}-{NARROW}")
    widths = ", ".join(map(str, dict.fromkeys(wide.heads)))
    return f"{times:.1f} times the parameters, " + (f"heads {widths} wide" if widths else "no attention")


def _grown(narrow: torch.Size, wide: torch.Size) -> bool:
    """Whether each length is the same, or three times as much."""
    if len(narrow) != len(wide):
        return False
    return all(n == w or abs(w / n / _TIMES - 1) <= _ROUNDED for n, w in zip(narrow, wide, strict=True))


def ladder_of(subject: Subject) -> tuple[str, Ladder]:
    """The size that is checked, or the one whose ladder it is of; and that ladder."""
    selection = subject.selection
    base = selection.architecture.base(selection.size)
    if base not in selection.architecture.ladder:
        raise NotHere(f"{base!r} has no ladder of sizes")
    if selection.options:
        raise NotHere("a ladder is of the architecture's own options")
    return base, selection.architecture.ladder[base]


def _size(subject: Subject, size: str) -> Selection:
    return replace(subject.selection, size=size)


@dataclass(frozen=True)
class _Form:
    """The shape of each parameter by its name, and how wide the heads of each attention are."""

    shapes: dict[str, torch.Size]
    heads: tuple[int, ...]

    @property
    def parameters(self) -> int:
        return sum(shape.numel() for shape in self.shapes.values())


def _form(selection: Selection, spec: DenoiserSpec) -> _Form:
    with without_memory(selection.label), torch.no_grad(), _Heads() as seen:
        denoiser = selection.build(spec).eval()
        denoiser(*(part.to("meta") for part in example_batch(spec, 1)))
    return _Form({name: parameter.shape for name, parameter in denoiser.named_parameters()}, tuple(seen.widths))


class _Heads(TorchFunctionMode):
    """Notes how wide the heads of every `scaled_dot_product_attention` are."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call."""
        if func is F.scaled_dot_product_attention and args:
            self.widths.append(args[0].shape[-1])
        return func(*args, **(kwargs or {}))


CHECKS = (
    Check(
        "ladder",
        f"each rung of a ladder takes so many times the training MACs of its size as it says, within {_OFF:.0%}",
        "change depth and width of the rungs until `ditbench sizes NAME --ladder` shows their factors",
        _rungs,
        mends_errors=True,
    ),
    Check(
        "width-pair",
        "the wide size of a ladder's pair is three times as wide as the narrow one: as many layers, heads as wide",
        "give `wide` three times the width and the number of heads of `narrow`, and change nothing else",
        _width_pair,
        mends_errors=True,
    ),
)
