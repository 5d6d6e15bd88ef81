"""A run's sampling, made again from what its record has of it: images, labels, batches, and how often it asked.

How often a sampler asks the denoiser follows from its steps, and guidance asks twice wherever it weighs. Both are told
here without torch; a test compares them with the samplers themselves.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from itertools import accumulate

from ...tracks.guidance import Guidance, T
from ..derived import sampling_rate
from ..facts import SamplingFacts
from ..record import Record
from .faults import Faults, differs, not_negative, positive, shown

MAX_LABELS = 1_000_000  # of more samples than these no labels are made
MAX_STEPS = 100_000  # of more steps than these the evaluations are not counted
_ROUNDING = 1e-3  # of a time in 0..1000, which may lie on either side of a bound of guidance
_SIGMAS, _RHO = (0.002, 80.0), 7  # of edm-heun


def sampling_of(record: Record) -> Faults:
    """All images that a run sampled: by its last weights, averaged and raw."""
    if record.sampling is not None:
        yield from _samples(record, record.sampling, "sampling", "ema")
    if record.raw is not None:
        yield from _samples(record, record.raw.sampling, "raw.sampling", "raw")


def _samples(record: Record, facts: SamplingFacts, field: str, weights: str) -> Faults:
    """As many images as the track asks, in its batches, with its labels; and their throughput."""
    track, size = record.track, record.track.sampler.batch_size
    count = min(track.evaluation.samples, size) if record.left_out else track.evaluation.samples  # one batch, timed
    yield from differs(f"{field}.weights", facts.weights, weights)
    yield from differs(f"{field}.sampler", facts.sampler, track.sampler.name, "its track's")
    yield from differs(f"{field}.steps", facts.steps, track.sampler.steps, "its track's")
    yield from differs(f"the sum of {field}.batch_images", sum(facts.batch_images), count, "its track's samples")
    if any(images != size for images in facts.batch_images[:-1]) or not 0 < facts.batch_images[-1] <= size:
        yield f"{field}.batch_images is {shown(facts.batch_images)}, should be {size} each, and the rest at last"
    yield from positive(f"{field}.batch_seconds", facts.batch_seconds)
    yield from _evaluations(record, facts, field)
    yield from not_negative(field, {"decode_seconds": facts.decode_seconds})
    yield from differs(f"the length of {field}.batch_seconds", len(facts.batch_seconds), len(facts.batch_images))
    if len(facts.batch_seconds) == len(facts.batch_images) and min(facts.batch_seconds) > 0:
        rate = sampling_rate(facts.batch_images, facts.batch_seconds)
        yield from differs(f"{field}.images_per_second", facts.images_per_second, rate, "of the median batch")
    if track.evaluation.labels == "balanced" and record.data and count <= MAX_LABELS:
        labels = _balanced_sha256(count, record.data.classes)
        yield from differs(f"{field}.labels_sha256", facts.labels_sha256, labels, "of balanced labels")


def _balanced_sha256(count: int, classes: int) -> str:
    """Hash of the labels i mod classes, as `sampling.labels_sha256` has it."""
    labels = (i % max(1, classes) for i in range(count))
    return hashlib.sha256(struct.pack(f"<{count}q", *labels)).hexdigest()


def _evaluations(record: Record, facts: SamplingFacts, field: str) -> Faults:
    choice = record.track.sampler
    found = evaluations(choice.name, choice.steps, choice.guidance)
    if found is None or found[0] <= facts.evaluations <= found[1]:
        return
    should, steps = " to ".join(map(str, sorted(set(found)))), f"{choice.steps} steps of {choice.name}"
    guided = ", guided" if choice.guidance else ""
    yield f"{field}.evaluations is {facts.evaluations}, should be {should} ({steps}{guided})"


def evaluations(sampler: str, steps: int, guidance: Guidance | None) -> tuple[int, int] | None:
    """The least and the most times that a sampler asks the denoiser for an image; None if it is not ditbench's.

    The two differ where a time is so close to a bound of guidance that rounding decides.
    """
    if sampler not in _TIMES or steps > MAX_STEPS:
        return None
    times = _TIMES[sampler](steps)
    weighed = [_weighed(guidance, t) for t in times] if guidance else []
    return len(times) + sum(map(all, weighed)), len(times) + sum(map(any, weighed))


def _weighed(guidance: Guidance, t: float) -> list[bool]:
    """Whether guidance weighs at a time, and just before and after it."""
    around = (min(max(t + gap, 0.0), T) for gap in (-_ROUNDING, 0.0, _ROUNDING))
    return [guidance.weight(near) != 1 for near in around]


def _along_the_flow(steps: int) -> list[float]:
    return [T * (1 - step / steps) for step in range(steps)]


def _respaced(steps: int) -> list[float]:
    """As `samplers.respaced` has it; their order does not matter here."""
    stride = (T - 1) / max(1, steps - 1)
    return [float(round(t)) for t in accumulate([stride] * (steps - 1), initial=0.0)]


def _spaced(steps: int) -> list[float]:
    """As diffusers' DPM-Solver has it."""
    return [float(round((T - 1) * step / steps)) for step in range(1, steps + 1)]


def _falling(steps: int) -> list[float]:
    """EDM's noise levels as times."""
    (least, most), power = _SIGMAS, 1 / _RHO
    ramp = (step / max(1, steps - 1) for step in range(steps))
    sigmas = ((most**power + share * (least**power - most**power)) ** _RHO for share in ramp)
    return [T * math.log(sigma / least) / math.log(most / least) for sigma in sigmas]


def _twice(times: Sequence[float]) -> list[float]:
    """Heun's method asks at every stop, and again at the end of each step but the last, which ends in the image."""
    return [*times, *times[1:]]


_TIMES: dict[str, Callable[[int], list[float]]] = {
    "euler": _along_the_flow,
    "heun": lambda steps: _twice(_along_the_flow(steps)),
    "ddpm": _respaced,
    "ddim": _respaced,
    "dpm-solver++": _spaced,
    "edm-heun": lambda steps: _twice(_falling(steps)),
}
