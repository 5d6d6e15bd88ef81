"""A run's sampling, made again from what its record has of it: images, labels, batches, and how often it asked.

How often a sampler asks the denoiser follows from its steps, as its component tells; guidance asks twice wherever it
weighs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from ...tracks.guidance import Guidance, T
from ..derived import sampling_rate
from ..facts import SamplingFacts
from ..record import Record
from .faults import Faults, differs, not_negative, positive, shown
from .known import ROUNDING, Known
from .plausible import sampling_times

MAX_LABELS = 1_000_000  # of more samples than these no labels are made


def sampling_of(record: Record, known: Known) -> Faults:
    """All images that a run sampled: by its last weights, averaged and raw."""
    if record.sampling is not None:
        yield from _samples(record, record.sampling, "sampling", "ema", known)
    if record.raw is not None:
        yield from _samples(record, record.raw.sampling, "raw.sampling", "raw", known)


def _samples(record: Record, facts: SamplingFacts, field: str, weights: str, known: Known) -> Faults:
    """As many images as the track asks, in its batches, with its labels; and their throughput."""
    track, size = record.track, record.track.sampler.batch_size
    count = min(track.evaluation.samples, size) if record.left_out else track.evaluation.samples  # one batch, timed
    yield from differs(f"{field}.weights", facts.weights, weights)
    yield from differs(f"{field}.sampler", facts.sampler, track.sampler.name, "its track's")
    yield from differs(f"{field}.steps", facts.steps, track.sampler.steps, "its track's")
    yield from differs(f"the sum of {field}.batch_images", sum(facts.batch_images), count, "its track's samples")
    each = size * (record.environment.processes if record.environment else 1)  # which make a batch each at a time
    if any(images != each for images in facts.batch_images[:-1]) or not 0 < facts.batch_images[-1] <= each:
        yield f"{field}.batch_images is {shown(facts.batch_images)}, should be {each} each, and the rest at last"
    yield from positive(f"{field}.batch_seconds", facts.batch_seconds)
    yield from _evaluations(record, facts, field, known)
    yield from not_negative(field, {"decode_seconds": facts.decode_seconds, "compile_seconds": facts.compile_seconds})
    yield from sampling_times(record, facts, field)
    yield from differs(f"the length of {field}.batch_seconds", len(facts.batch_seconds), len(facts.batch_images))
    if len(facts.batch_seconds) == len(facts.batch_images) and min(facts.batch_seconds) > 0:
        rate = sampling_rate(facts.batch_images, facts.batch_seconds)
        yield from differs(f"{field}.images_per_second", facts.images_per_second, rate, "of the median batch")
    if track.evaluation.labels == "balanced" and record.data and count <= MAX_LABELS:
        labels = _balanced_sha256(count, record.data.classes)
        yield from differs(f"{field}.labels_sha256", facts.labels_sha256, labels, "of balanced labels")


def _balanced_sha256(count: int, classes: int) -> str:
    """Hash of the labels i mod classes, as `generate.labels_sha256` has it."""
    labels = (i % max(1, classes) for i in range(count))
    return hashlib.sha256(struct.pack(f"<{count}q", *labels)).hexdigest()


def _evaluations(record: Record, facts: SamplingFacts, field: str, known: Known) -> Faults:
    choice = record.track.sampler
    times = known.times(choice.name, choice.steps, choice.settings)
    if times is None:
        return
    least, most = evaluations(times, choice.guidance)
    if least <= facts.evaluations <= most:
        return
    should, steps = " to ".join(map(str, sorted({least, most}))), f"{choice.steps} steps of {choice.name}"
    guided = ", guided" if choice.guidance else ""
    yield f"{field}.evaluations is {facts.evaluations}, should be {should} ({steps}{guided})"


def evaluations(times: Sequence[float], guidance: Guidance | None) -> tuple[int, int]:
    """The least and the most times that the denoiser is asked for an image, by a sampler that asks at `times`.

    The two differ where a time is so close to a bound of guidance that rounding decides.
    """
    weighed = [_weighed(guidance, t) for t in times] if guidance else []
    return len(times) + sum(map(all, weighed)), len(times) + sum(map(any, weighed))


def _weighed(guidance: Guidance, t: float) -> list[bool]:
    """Whether guidance weighs at a time, and just before and after it."""
    around = (min(max(t + gap, 0.0), T) for gap in (-ROUNDING, 0.0, ROUNDING))
    return [guidance.weight(near) != 1 for near in around]
