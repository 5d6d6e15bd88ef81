"""A check that muP holds for a network: what its layers put out is as large at any width, while it learns.

After Yang et al. (2022), Appendix D.1. Under the standard parametrization three times the width lets a step change a
layer's output up to three times as much, so that the rate which one width learns best with is too large for another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from ...components import Selection
from ...denoiser_spec import DenoiserSpec
from ...ladder import NARROW, WIDE
from ..interface import Batch, StandInLoss, example_batch, loss_of
from ..parametrization import Scale, in_groups, scales_of, start_as_scaled
from .scaling import ladder_of
from .subject import Check, Subject, require

_STEPS = 5
_RATE = 1e-3  # of Adam; as high as nothing yet saturates or diverges
_IMAGES = 4
_SEEDS = (0, 1)  # narrow networks differ by their start
_GROWS = 2.0  # times, at most; without muP layers of the architectures that ship grow 2.2 to 8 times
_SHRINKS = 2.5  # under muP a last layer that does not start as zero puts out 1.7 times less, until it has learned


class _Regression(StandInLoss):
    """A loss with something to learn, also for networks that start as zero: the image that they see."""

    def _out(self, extra: dict[str, Any]) -> Tensor:
        out, x = super()._out(extra), self._batch[0]
        return out - torch.cat([x] * (out.shape[-3] // x.shape[-3]), dim=-3)


Outputs = Mapping[str, list[float]]  # by layer, the mean size of what it puts out, pass by pass


def _coordinates(subject: Subject) -> str:
    base, _ = ladder_of(subject)
    spec = subject.selection.made_for or subject.spec
    narrow, wide = (
        partial(outputs, replace(subject.selection, size=f"{base}-{name}"), spec) for name in (NARROW, WIDE)
    )
    found = [grown(narrow(seed), wide(seed)) for seed in _SEEDS]
    times = {
        layer: math.exp(fmean(one[layer] for one in found)) for layer in found[0] if all(layer in f for f in found)
    }
    require(bool(times), "no layer puts out anything but zero")
    least, most = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
    told = f"{times[least]:.2f} ({least or 'the output'}) to {times[most]:.2f} times ({most or 'the output'})"
    held = times[most] <= _GROWS and times[least] >= 1 / _SHRINKS
    require(held, f"{base}-{WIDE} puts out {told} what {base}-{NARROW} does")
    return told


def grown(narrow: Outputs, wide: Outputs) -> dict[str, float]:
    """By layer the logarithm of how many times as large the wide one's output is, the mean over the passes.

    Those before the first step are left out: there a muP network puts out less the wider it is, and many put out zero.
    """
    found = {}
    for layer in narrow.keys() & wide.keys():
        both = [(n, w) for n, w in zip(narrow[layer][1:], wide[layer][1:], strict=False) if n and w]
        if both:
            found[layer] = fmean(math.log(w / n) for n, w in both)
    return found


def outputs(selection: Selection, spec: DenoiserSpec, seed: int, rate: float = _RATE, scaled: bool = True) -> Outputs:
    """What the layers of a network put out in a pass before each of five steps, and in one after them.

    scaled: as muP has it, not as the plugin has it.
    """
    scales = scales_of(selection, spec) if scaled else {}
    torch.manual_seed(seed)
    network: nn.Module = selection.build(spec)
    start_as_scaled(network.train(), scales, selection, spec, seed)
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    rates = (scales.get(name, Scale()).rate for name in trained)
    optimizer = torch.optim.AdamW(in_groups(trained.values(), rates, rate, 0.0), fused=True)
    batch, found = example_batch(spec, _IMAGES), defaultdict[str, list[float]](list)
    for step in range(_STEPS + 1):
        torch.manual_seed(step)  # what the network draws
        with _listening(network) as heard:
            loss = _loss(network, batch)
        for layer, sizes in heard.items():
            found[layer].append(fmean(sizes))
        if step < _STEPS:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return found


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    return loss_of(network, _Regression(network, *batch))


@contextmanager
def _listening(network: nn.Module) -> Iterator[Mapping[str, list[float]]]:
    """The mean size of what each layer puts out meanwhile, call by call; of the network itself, its name is empty."""
    heard = defaultdict[str, list[float]](list)

    def note(layer: str, _: nn.Module, __: Any, out: object) -> None:
        if isinstance(out, Tensor):
            heard[layer].append(float(out.detach().abs().mean()))

    hooks = [module.register_forward_hook(partial(note, name)) for name, module in network.named_modules()]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


CHECKS = (
    Check(
        "coord-check",
        f"under muP a layer of a ladder's wide size puts out at most {_GROWS:g} times what it does in the narrow one, "
        f"and no {_SHRINKS:g} times less, over {_STEPS} steps",
        "make layers of nn.Linear, nn.Conv2d and nn.Embedding, by which muP tells matrices from tables",
        _coordinates,
        mends_errors=True,
    ),
)
