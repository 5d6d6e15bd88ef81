"""The page of speeds that were measured alone: profiles, by class of hardware, apart from all that ranks quality."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ...errors import brief
from ...records.profile import Phase, Profile
from ..tables import number
from .contents import Contents, Key
from .plots import Chart, compact, make_chart, text_of

_GIB = 2**30
_X = [{"key": "memory", "label": "peak memory in training (GiB)"}, {"key": "batch", "label": "images per step"}]
_Y = [
    {"key": "training", "label": "training images/s"},
    {"key": "mfu", "label": "MFU in training (%)"},
    {"key": "joules", "label": "joules per training image"},
    {"key": "inference", "label": "images/s of one forward pass"},
    {"key": "sampling", "label": "images/s of one sampler step"},
]


@dataclass(frozen=True)
class SpeedLine:
    """A profile as a row of the table; empty: not known."""

    name: str
    style: int
    how: str
    batch: int
    numbers: Sequence[tuple[str, float]]  # as shown, and what it sorts by
    torch: str
    day: str
    by: str


@dataclass(frozen=True)
class SpeedView:
    """All profiles on one class of hardware."""

    hardware: str
    lines: Sequence[SpeedLine]
    chart: Chart


HEADINGS = (
    "training images/s", "MFU", "J/image", "GiB", "forward images/s", "sampler step images/s",
)  # fmt: skip


def views(contents: Contents) -> list[SpeedView]:
    """What the page shows, a part for each class of hardware: no speed of one meets another's."""
    found: dict[str, list[Profile]] = defaultdict(list)
    for profile in contents.profiles:
        if profile.environment is not None:
            found[profile.environment.hardware].append(profile)
    return [_view(contents, hardware, found[hardware]) for hardware in sorted(found)]


def _view(contents: Contents, hardware: str, profiles: Sequence[Profile]) -> SpeedView:
    ordered = sorted(profiles, key=lambda one: (one.label, _how(one), one.setup.batch_size, one.created))
    lines = [_line(contents, profile) for profile in ordered]
    groups = [list(group) for _, group in groupby(ordered, key=lambda one: (one.label, _how(one)))]
    hows = sorted({_how(profile) for profile in profiles})
    series = [_series(contents, group, hows.index(_how(group[0]))) for group in groups]
    return SpeedView(hardware, lines, make_chart(_X, _Y, series))


def _how(profile: Profile) -> str:
    """What tells profiles of one network apart, beside their batches."""
    setup = profile.setup
    loss = f"loss of {setup.track.partition(' ')[0]}" if setup.objective and setup.track else "stand-in loss"
    return f"{setup.precision}, {'compiled' if setup.compile else 'eager'}, {setup.spec}, {loss}"


def _numbers(profile: Profile) -> dict[str, float | None]:
    """By the keys of the plot's axes."""
    setup, training = profile.setup, profile.training
    assert training is not None
    share, memory = profile.utilisation(), _memory(profile)
    return {
        "training": _rate(training, profile),
        "mfu": None if share is None else 100 * share,
        "joules": training.joules_per_image(setup.batch_size),
        "memory": None if memory is None else memory / _GIB,
        "inference": _rate(profile.inference, profile),
        "sampling": _rate(profile.sampling, profile),
        "batch": setup.batch_size,
    }


def _rate(phase: Phase | None, profile: Profile) -> float | None:
    return None if phase is None else phase.images_per_second(profile.setup.images)[1]


def _memory(profile: Profile) -> int | None:
    """Bytes: what the allocator gave out on a GPU; on a CPU the resident set above the libraries."""
    assert profile.training is not None
    peak = profile.training.peak
    if peak.allocated is not None:
        return peak.allocated
    return None if peak.resident is None else max(0, peak.resident - (profile.resident_at_start or 0))


def _line(contents: Contents, profile: Profile) -> SpeedLine:
    found, environment = _numbers(profile), profile.environment
    shown = [found[key] for key in ("training", "mfu", "joules", "memory", "inference", "sampling")]
    return SpeedLine(
        brief(profile.label),
        contents.style_of(_key(profile)),
        brief(_how(profile)),
        profile.setup.batch_size,
        [("" if value is None else number(value), -1.0 if value is None else compact(value)) for value in shown],
        environment.torch if environment else "",
        profile.created.date().isoformat(),
        profile.submission.by if profile.submission else "",
    )


def _key(profile: Profile) -> Key:
    return Key(profile.architecture.name, profile.architecture.distribution)


def _series(contents: Contents, profiles: Sequence[Profile], variant: int) -> Chart:
    """One network, timed in one way, at each of its batches."""
    first, points = profiles[0], [_numbers(profile) for profile in profiles]
    keys = [of["key"] for of in (*_X, *_Y) if any(point[of["key"]] is not None for point in points)]
    known = {key: [None if point[key] is None else compact(point[key] or 0.0) for point in points] for key in keys}
    x = {key: known[key] for key in ("memory", "batch") if key in known and None not in known[key]}
    return {
        "name": text_of(brief(first.label)),
        "note": text_of(brief(_how(first))),
        "style": contents.style_of(_key(first)),
        "variant": variant,
        "mode": "markers" if len(profiles) == 1 else "lines+markers",
        "x": x,
        "y": {key: values for key, values in known.items() if key not in ("memory", "batch")},
    }
