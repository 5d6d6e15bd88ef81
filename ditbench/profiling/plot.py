"""The picture of profiles: throughput against peak memory, a mark for each size, a colour for each architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import hypot
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from ..denoiser_spec import DenoiserSpec
from ..records.profile import Profile
from ..storage.files import write_atomically
from .tables import PhaseName, machine, phase_of

# Okabe & Ito's colours without black and yellow: told apart by colour-blind readers, too, and legible as text
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = "osD^vP"  # one for each input
LOG_FROM = 5.0  # how many times the smallest value the largest must be for a logarithmic axis
DPI = 150
PIXELS = DPI / 72  # per point
FONT = FontProperties(size=8)
STEPS = (0, 8, 20, 32, 44, 56, -8, -20, -32, -44, -56)  # points
OFFSETS = sorted(product(STEPS, STEPS), key=lambda offset: (hypot(*offset), -offset[0]))[1:]  # of labels, nearest first
NEAR = 12  # points; labels further off than that need a line


@dataclass(frozen=True)
class Mark:
    """One profile's phase: GiB and images/s, the latter with its quartiles."""

    label: str
    memory: float
    speed: float
    quartiles: tuple[float, float]
    colour: str
    marker: str


def write_plot(profiles: Sequence[Profile], path: Path) -> bool:
    """Draw the profiles of one mode as PNG; False, and no file, if none of them has measurements."""
    timed = [profile for profile in profiles if not profile.reason]
    if not timed:
        return False
    figure = draw(timed)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    return True


def draw(profiles: Sequence[Profile]) -> Figure:
    """Training on the left, inference on the right. All profiles must have measurements."""
    figure = Figure(figsize=(11, 5), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    machines = sorted({machine(profile.environment) for profile in profiles if profile.environment})
    setup = profiles[0].setup
    how = f"batch {setup.batch_size}, {setup.precision}, {'compiled' if setup.compile else 'eager'}"
    how += ", the track's loss" if setup.objective else ""
    figure.suptitle(f"{how}; {'; '.join(machines)}", fontsize=10, color="0.3")
    names: tuple[PhaseName, ...] = ("training", "inference")
    panels = [(axes, marks_of(profiles, name)) for axes, name in zip(figure.subplots(1, 2), names, strict=True)]
    for (axes, marks), name in zip(panels, names, strict=True):
        _prepare(axes, name, profiles)
        _draw_marks(axes, marks)
    _explain_markers(figure, profiles)
    figure.draw_without_rendering()  # only now it is known where everything lies
    figure.set_layout_engine("none")
    for axes, marks in panels:
        _draw_labels(axes, marks, canvas)
    return figure


def marks_of(profiles: Sequence[Profile], name: PhaseName) -> list[Mark]:
    """Memory is the resident set above what the libraries take on a CPU, and what the allocator gave out on CUDA."""
    architectures = sorted({_architecture(profile) for profile in profiles})
    inputs = _inputs(profiles)
    marks = []
    for profile in profiles:
        phase = phase_of(profile, name)
        low, middle, high = phase.images_per_second(profile.setup.images)
        resident = (phase.peak.resident or 0) - (profile.resident_at_start or 0)
        memory = resident if phase.peak.allocated is None else phase.peak.allocated
        colour = COLOURS[architectures.index(_architecture(profile)) % len(COLOURS)]
        marker = MARKERS[inputs.index(profile.setup.spec) % len(MARKERS)]
        marks.append(Mark(profile.label, memory / 2**30, middle, (low, high), colour, marker))
    return marks


def _architecture(profile: Profile) -> str:
    return profile.label.partition(":")[0]


def _inputs(profiles: Sequence[Profile]) -> list[DenoiserSpec]:
    return sorted({profile.setup.spec for profile in profiles}, key=str)


def _prepare(axes: Axes, name: PhaseName, profiles: Sequence[Profile]) -> None:
    on_gpu = phase_of(profiles[0], name).peak.allocated is not None
    axes.set_title(name.capitalize(), loc="left", fontweight="bold")
    axes.set_xlabel("peak allocated memory (GiB)" if on_gpu else "peak resident memory above the libraries (GiB)")
    axes.set_ylabel("images/s (bars: quartiles)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.18)


def _draw_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    _scale(axes.xaxis, [mark.memory for mark in marks])
    _scale(axes.yaxis, [mark.speed for mark in marks])
    for mark in marks:
        low, high = mark.quartiles
        axes.errorbar(
            mark.memory,
            mark.speed,
            yerr=[[mark.speed - low], [high - mark.speed]],
            fmt=mark.marker,
            color=mark.colour,
            markersize=6,
            elinewidth=1.2,
            capsize=3,
        )


def _scale(axis: Axis, values: Sequence[float]) -> None:
    """Logarithmic, with plain numbers, if the values span much."""
    if max(values) < LOG_FROM * min(values):
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _explain_markers(figure: Figure, profiles: Sequence[Profile]) -> None:
    inputs = _inputs(profiles)
    if len(inputs) < 2:
        return
    handles = [
        Line2D([], [], marker=MARKERS[number % len(MARKERS)], color="0.4", linestyle="", label=str(spec))
        for number, spec in enumerate(inputs)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(inputs)), frameon=False, fontsize=8)


def _draw_labels(axes: Axes, marks: Sequence[Mark], canvas: FigureCanvasAgg) -> None:
    """Each label beside its mark, at the first place where it covers nothing; further off with a line."""
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    taken = [_around(axes, mark) for mark in marks]
    for mark in sorted(marks, key=lambda mark: -mark.speed):
        width, height, _ = renderer.get_text_width_height_descent(mark.label, FONT, ismath=False)
        places = [(*offset, _box(axes, mark, offset, width, height)) for offset in OFFSETS]
        free = [place for place in places if _is_free(place[2], axes.bbox, taken)]
        right, up, box = (free or places)[0]
        taken.append(box)
        axes.annotate(
            mark.label,
            (mark.memory, mark.speed),
            (right, up),
            textcoords="offset points",
            ha="left" if right > 0 else "right" if right < 0 else "center",
            va="bottom" if up > 0 else "top" if up < 0 else "center",
            fontproperties=FONT,
            color=mark.colour,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": mark.colour, "linewidth": 0.6} if hypot(right, up) > NEAR else None,
        )


def _around(axes: Axes, mark: Mark) -> Bbox:
    """The box in pixels that a mark and its bar take."""
    (x, low), (_, high) = axes.transData.transform([(mark.memory, speed) for speed in mark.quartiles])
    return Bbox.from_extents(x, low, x, high).padded(4 * PIXELS)


def _box(axes: Axes, mark: Mark, offset: tuple[int, int], width: float, height: float) -> Bbox:
    """The box in pixels that a label would take at an offset in points from its mark."""
    x, y = axes.transData.transform((mark.memory, mark.speed))
    right, up = offset
    left = x + right * PIXELS - width * (0 if right > 0 else 1 if right < 0 else 0.5)
    bottom = y + up * PIXELS - height * (0 if up > 0 else 1 if up < 0 else 0.5)
    return Bbox.from_bounds(left, bottom, width, height).padded(PIXELS)


def _is_free(box: Bbox, within: Bbox, taken: Sequence[Bbox]) -> bool:
    inside = within.x0 <= box.x0 and box.x1 <= within.x1 and within.y0 <= box.y0 and box.y1 <= within.y1
    return inside and not any(box.overlaps(other) for other in taken)
