"""Checks of what a forward pass gives, and what it depends on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ...denoiser_spec import DenoiserSpec
from ...errors import BadValue
from ..interface import example_batch
from .subject import Broken, Check, Doubtful, NotHere, Subject, require

_WHOLE = 32  # images; 1 and 7 of them alone must give the same
_TOLD_APART = 0.03  # share of a large step's change that a step of 10 should make; a straight line in t makes 0.02


def _output(denoiser: nn.Module, spec: DenoiserSpec, count: int) -> Tensor:
    x, t, y = example_batch(spec, count)
    out: Tensor = denoiser(x, t, y)
    require(isinstance(out, Tensor), f"on {spec} the output is {_kind(out)}, not a tensor")
    expected = (count, *spec.out_shape)
    require(tuple(out.shape) == expected, f"on {spec} the output has shape {tuple(out.shape)}, not {expected}")
    require(out.dtype == x.dtype, f"on {spec} the output is {out.dtype}, the input {x.dtype}")
    require(bool(out.isfinite().all()), f"on {spec} the output is not finite")
    return out


def _kind(out: object) -> str:
    return "None" if out is None else f"of type {type(out).__name__}"


def _shape(subject: Subject) -> str:
    return f"{tuple(_output(subject.build(), subject.spec, 7).shape)}"


def _other_inputs(subject: Subject) -> str:
    done, refused = [], []
    for name, spec in _variations(subject.spec):
        try:
            denoiser = subject.build(spec)
        except BadValue as reason:
            refused.append(f"{name}: refused ({reason})")
            continue
        with torch.no_grad():
            _output(denoiser.eval(), spec, 2)
        done.append(name)
    if not done:
        raise NotHere("; ".join(refused))
    return "; ".join([", ".join(done), *refused])


def _variations(spec: DenoiserSpec) -> Iterator[tuple[str, DenoiserSpec]]:
    channels = 3 if spec.channels != 3 else 4
    yield f"resolution {2 * spec.resolution}", replace(spec, resolution=2 * spec.resolution)
    yield f"{channels} channels", replace(spec, channels=channels)
    if spec.frames > 1:
        yield f"{2 * spec.frames} frames", replace(spec, frames=2 * spec.frames)
    yield "no classes" if spec.classes else "3 classes", replace(spec, classes=0 if spec.classes else 3)
    yield (
        "the variance's channels, too" if not spec.learn_variance else "no variance's channels",
        replace(spec, learn_variance=not spec.learn_variance),
    )


def _ends(time: float, subject: Subject) -> str:
    denoiser, (x, t, y) = subject.build(), subject.batch(2)
    for mode in ("training", "eval"):
        with torch.no_grad():
            out = denoiser.train(mode == "training")(x, torch.full_like(t, time), y)
        require(bool(out.isfinite().all()), f"the output is not finite in {mode} mode")
    return f"up to {float(out.abs().max()):.3g}"


def _at_0(subject: Subject) -> str:
    return _ends(0.0, subject)


def _at_1000(subject: Subject) -> str:
    return _ends(1000.0, subject)


@torch.no_grad()
def _on_x(subject: Subject) -> str:
    denoiser, (x, t, y) = subject.build().eval(), subject.batch()
    require(_differs(denoiser(x, t, y), denoiser(x + 1, t, y)), "the output does not depend on x")
    return "every image moved"


@torch.no_grad()
def _on_t(subject: Subject) -> str:
    denoiser, (x, t, y) = subject.build().eval(), subject.batch()
    require(_differs(denoiser(x, t, y), denoiser(x, t.roll(1), y)), "the output does not depend on t")
    return "every image moved"


@torch.no_grad()
def _tells_times_apart(subject: Subject) -> str:
    """A step of 10 against one of about 500, at 32 times of the whole range."""
    denoiser, (x, _, y) = subject.build().eval(), subject.batch(_WHOLE)
    t = torch.linspace(0, 990, _WHOLE)
    out = denoiser(x, t, y)
    near, far = (float((denoiser(x, other, y) - out).norm()) for other in (t + 10, t.roll(_WHOLE // 2)))
    if not far:
        raise NotHere("the output does not depend on t; see depends-on-t")
    seen = f"a step of 10 in t moves the output {near / far:.2g} times as much as one of half the range"
    if near < _TOLD_APART * far:
        raise Doubtful(seen)
    return seen


def _with_labels(subject: Subject) -> tuple[Callable[[int], Tensor], list[Tensor]]:
    """What gives the output for a label, and the outputs for the first labels."""
    if not subject.spec.classes:
        raise NotHere("there are no classes")
    denoiser, (x, t, y) = subject.build().eval(), subject.batch()

    @torch.no_grad()
    def given(label: int) -> Tensor:
        return denoiser(x, t, torch.full_like(y, label))  # type: ignore[no-any-return]

    return given, [given(label) for label in range(min(subject.spec.classes, 3))]


def _on_y(subject: Subject) -> str:
    _, known = _with_labels(subject)
    if len(known) == 1:
        raise NotHere("there is one class; see null-label")
    for label, other in enumerate(known[1:], start=1):
        require(_differs(known[0], other), f"the output does not depend on y: labels 0 and {label} give the same")
    return "every image moved"


def _null_label(subject: Subject) -> str:
    given, known = _with_labels(subject)
    try:
        null = given(subject.spec.classes)
    except IndexError as error:
        raise Broken(f"label {subject.spec.classes} is out of range: {error}") from None
    for label, one in enumerate(known):
        require(_differs(one, null), f"the null label gives the same as label {label}")
    return f"label {subject.spec.classes} is one of its own"


def _differs(one: Tensor, other: Tensor) -> bool:
    """Every image of the batch moved by more than rounding."""
    gap = (one - other).flatten(1).abs().amax(1)
    return bool((gap > 1e-6 * one.abs().max()).all())


def _leaves_inputs(subject: Subject) -> str:
    denoiser, batch = subject.build(), subject.batch()
    kept = [tensor.clone() for tensor in batch]
    for mode in ("training", "eval"):
        with torch.no_grad():
            denoiser.train(mode == "training")(*batch)
        changed = [name for name, was, now in zip("xty", kept, batch, strict=True) if not torch.equal(was, now)]
        require(not changed, f"it changes {', '.join(changed)} in {mode} mode")
    return "x, t and y are as they were"


@torch.no_grad()
def _any_batch(subject: Subject) -> str:
    denoiser, (x, t, y) = subject.build().eval(), subject.batch(_WHOLE)
    whole = denoiser(x, t, y)
    worst = {}
    for size in (1, 7):
        cuts = [slice(start, start + size) for start in range(0, len(x), size)]
        parts = torch.cat([denoiser(x[cut], t[cut], y[cut]) for cut in cuts])
        worst[size] = float((parts - whole).abs().max() / whole.abs().max())
        require(worst[size] <= 1e-4, f"images see each other: batch {size} differs by {worst[size]:.1e}")
    return f"batches of 1, 7 and {_WHOLE} agree to {max(worst.values()):.0e}"


def _no_leak(subject: Subject) -> str:
    """By gradients, so that it holds in training mode, too, whose random draws no two batches share."""
    denoiser, (x, t, y) = subject.build().train(), subject.batch()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(denoiser(x, t, y)[0].square().sum(), x)
    require(not bool(gradient[1:].any()), "in training, the first image's output depends on the others (batch norm?)")
    return "an image's output has no gradient for the others"


@torch.no_grad()
def _deterministic(subject: Subject) -> str:
    denoiser, batch = subject.build().eval(), subject.batch()
    require(torch.equal(denoiser(*batch), denoiser(*batch)), "two calls with the same input differ")
    return "bit for bit"


@torch.no_grad()
def _no_global_rng(subject: Subject) -> str:
    denoiser = subject.build().eval()
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    denoiser(*subject.batch())
    require(torch.equal(before[0], torch.get_rng_state()), "inference draws from torch's global generator")
    require(before[1] == random.getstate(), "inference draws from Python's global generator")
    require(before[2] == str(np.random.get_state()), "inference draws from NumPy's global generator")
    return "all generators are where they were"


CHECKS = (
    Check(
        "output-shape",
        "finite (N, out_channels, resolution, resolution), of clips (N, frames, ...), of the input's type",
        "return one tensor of spec.out_channels channels (twice the input's with spec.learn_variance), add no float64, "
        "and guard divisions, logarithms and roots",
        _shape,
    ),
    Check(
        "other-inputs",
        "the same for another resolution, other channels, frames, no classes, learned variance; or a `BadValue`",
        "take every width from the spec; raise ditbench.BadValue for what the network can't do",
        _other_inputs,
        mends_errors=True,
    ),
    Check("finite-at-t-0", "finite at t = 0", "guard logarithms, divisions and roots of t", _at_0),
    Check("finite-at-t-1000", "finite at t = 1000", "t runs over [0, 1000], both ends included", _at_1000),
    Check("depends-on-x", "another x gives another output", "see that x reaches the output", _on_x),
    Check("depends-on-t", "another t gives another output", "see that t reaches the output, unrounded", _on_t),
    Check("depends-on-y", "another label gives another output", "see that y reaches the output", _on_y),
    Check(
        "tells-times-apart",
        f"a step of 10 in t moves the output at least {_TOLD_APART:g} times as much as one of half the range",
        "embed t in [0, 1000]: sinusoids that were made for it hardly move for t / 1000, as weights of SiT, JiT and "
        "LightningDiT were trained",
        _tells_times_apart,
    ),
    Check(
        "null-label",
        "the label `classes` means none: it is in range and differs from the classes",
        "embed classes + 1 labels, the last being the null label",
        _null_label,
    ),
    Check("leaves-its-input", "x, t and y stay as they are", "use no in-place operation on an input", _leaves_inputs),
    Check(
        "any-batch",
        "an image's output is the same in a batch of 1, 7 or 32",
        "normalise within an image: no batch statistics",
        _any_batch,
    ),
    Check(
        "no-leak-in-training",
        "in training mode, too, no image sees the others",
        "use layer or group norm in place of batch norm",
        _no_leak,
    ),
    Check(
        "deterministic",
        "in eval mode the same input gives the same output",
        "draw nothing at inference",
        _deterministic,
    ),
    Check(
        "no-global-rng",
        "inference leaves the generators of torch, NumPy and Python alone",
        "draw at random in training only, and from torch's generator",
        _no_global_rng,
    ),
)
