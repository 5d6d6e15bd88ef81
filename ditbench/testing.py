"""The denoiser's contract as checks. A plugin's whole test suite can be one call of `check_architecture`.

The contract: ``net(x, t, y)`` with x (N, channels, resolution, resolution), t (N,) in [0, 1000] and y (N,)
in [0, classes] (`classes` is the null label) gives (N, out_channels, resolution, resolution). Images of a
batch do not see each other, nothing is random at inference, and what training draws at random comes from
torch's global generator, which the harness seeds at every step.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .components import Architecture, DenoiserSpec, Selection, Value
from .objectives import loss_of

DIGITS_SPEC = DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")
_BATCH = 7


class ContractBroken(AssertionError):
    """An architecture does not keep the contract; the message says where."""


def check_architecture(
    architecture: Architecture,
    spec: DenoiserSpec = DIGITS_SPEC,
    size: str = "nano",
    options: Mapping[str, Value] | None = None,
) -> None:
    """Build one denoiser and check every clause of the contract; `ContractBroken` names the first broken one.

    The parameters are perturbed first, because many networks start as the zero function.
    """
    denoiser = build_denoiser(architecture, size, spec, **(options or {}))
    perturb(denoiser)
    x, t, y = example_batch(spec, _BATCH)
    _check_output(denoiser, spec, x, t, y)
    _check_gradients(denoiser, x, t, y)
    denoiser.eval()
    with torch.no_grad():
        _check_determinism(denoiser, x, t, y)
        _check_dependence(denoiser, spec, x, t, y)
        _check_batch_independence(denoiser, spec)
        _check_state_dict(denoiser, build_denoiser(architecture, size, spec, **(options or {})), x, t, y)


def build_denoiser(
    architecture: Architecture, size: str = "nano", spec: DenoiserSpec = DIGITS_SPEC, **options: Value
) -> nn.Module:
    """A denoiser as the harness builds it, initialised from seed 0."""
    torch.manual_seed(0)
    return Selection(architecture=architecture, size=size, options=options).build(spec)  # type: ignore[no-any-return]


def example_batch(spec: DenoiserSpec, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """A fixed x, t, y; the last label is the null label."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(count, spec.channels, spec.resolution, spec.resolution, generator=draw)
    t = torch.linspace(1, 999, count)
    y = torch.arange(count) % max(1, spec.classes)
    y[-1] = spec.classes
    return x, t, y


def perturb(denoiser: nn.Module, scale: float = 0.05) -> None:
    """Add fixed small noise to every trainable parameter, so that no zero-initialised layer hides another."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=draw))


def training_loss(denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A squared-error stand-in for the harness's loss, through the denoiser's own `training_loss` if it has one."""

    def once(**extra: Any) -> Tensor:
        return denoiser(x, t, y, **extra).square().mean()  # type: ignore[no-any-return]

    return loss_of(denoiser, once)


def _check_output(denoiser: nn.Module, spec: DenoiserSpec, x: Tensor, t: Tensor, y: Tensor) -> None:
    out = denoiser(x, t, y)
    expected = (len(x), spec.out_channels, spec.resolution, spec.resolution)
    _require(tuple(out.shape) == expected, f"the output has shape {tuple(out.shape)}, not {expected}")
    _require(out.dtype == x.dtype, f"the output is {out.dtype}, the input {x.dtype}")
    _require(bool(out.isfinite().all()), "the output is not finite")


def _check_gradients(denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> None:
    denoiser.train()
    torch.manual_seed(3)
    loss = training_loss(denoiser, x, t, y)
    _require(loss.ndim == 0, f"the training loss has shape {tuple(loss.shape)}, not ()")
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in denoiser.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad
        _require(gradient is not None, f"parameter {name!r} gets no gradient")
        assert gradient is not None
        _require(bool(gradient.isfinite().all()), f"the gradient of {name!r} is not finite")
        _require(bool(gradient.abs().sum() > 0), f"the gradient of {name!r} is zero everywhere")


def _check_determinism(denoiser: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> None:
    before = torch.get_rng_state()
    one, other = denoiser(x, t, y), denoiser(x, t, y)
    _require(torch.equal(one, other), "two calls with the same input differ")
    _require(torch.equal(before, torch.get_rng_state()), "inference draws from torch's global generator")


def _check_dependence(denoiser: nn.Module, spec: DenoiserSpec, x: Tensor, t: Tensor, y: Tensor) -> None:
    out = denoiser(x, t, y)
    _require(_differs(out, denoiser(x + 1, t, y)), "the output does not depend on x")
    _require(_differs(out, denoiser(x, t.roll(1), y)), "the output does not depend on t")
    if not spec.classes:
        return
    null = denoiser(x, t, torch.full_like(y, spec.classes))
    known = [denoiser(x, t, torch.full_like(y, label)) for label in range(min(spec.classes, 3))]
    for label, other in enumerate(known[1:], start=1):
        _require(_differs(known[0], other), f"the output does not depend on y: labels 0 and {label} give the same")
    for label, one in enumerate(known):
        _require(_differs(one, null), f"the null label gives the same as label {label}")


def _check_batch_independence(denoiser: nn.Module, spec: DenoiserSpec) -> None:
    x, t, y = example_batch(spec, 32)
    whole = denoiser(x, t, y)
    for size in (1, 7):
        cuts = [slice(start, start + size) for start in range(0, len(x), size)]
        parts = [denoiser(x[cut], t[cut], y[cut]) for cut in cuts]
        worst = float((torch.cat(parts) - whole).abs().max())
        _require(
            worst <= 1e-4 * float(whole.abs().max()), f"images see each other: batch {size} differs by {worst:.1e}"
        )


def _check_state_dict(denoiser: nn.Module, fresh: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> None:
    buffer = io.BytesIO()
    torch.save(denoiser.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    same = torch.equal(fresh.eval()(x, t, y), denoiser(x, t, y))
    _require(same, "a network rebuilt from the state dict gives another output")


def _differs(one: Tensor, other: Tensor) -> bool:
    """Every image of the batch moved by more than rounding."""
    gap = (one - other).flatten(1).abs().amax(1)
    return bool((gap > 1e-6 * one.abs().max()).all())


def _require(kept: bool, complaint: str) -> None:
    if not kept:
        raise ContractBroken(complaint)
