"""The picture of a study of scale, as SVG: errors against sizes by budget, then best sizes and errors against compute.

The same study makes the same bytes. Every text of it is escaped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import escape

from .laws import Law, Optimum, Scaling
from .study import Study
from .words import figures, flops, macs

_WIDE, _HIGH, _LEFT, _TOP, _GAP = 300, 230, 62, 46, 78  # of a panel, in pixels
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito's; one per architecture
_INK, _FAINT = "#222", "#ddd"
_COLUMNS, _BELOW = 3, 50
_MARGIN = 0.06  # of an axis, on either side of what it shows
Spot = tuple[float, float]


@dataclass(frozen=True)
class _Panel:
    """A place with two logarithmic axes."""

    left: float
    top: float
    x: tuple[float, float]  # what it shows, as logarithms
    y: tuple[float, float]

    def at(self, x: float, y: float) -> Spot:
        """Where a point of two numbers lies, in pixels."""
        return (
            self.left + _WIDE * (math.log(x) - self.x[0]) / (self.x[1] - self.x[0]),
            self.top + _HIGH * (1 - (math.log(y) - self.y[0]) / (self.y[1] - self.y[0])),
        )

    def frame(self, title: str, x: str, y: str) -> Iterator[str]:
        """Its axes with three numbers each, which are enough to read a line by."""
        yield f'<rect x="{self.left}" y="{self.top}" width="{_WIDE}" height="{_HIGH}" fill="none" stroke="{_FAINT}"/>'
        yield _text((self.left, self.top - 10), title, weight="bold")
        yield _text((self.left + _WIDE / 2, self.top + _HIGH + 34), x, anchor="middle")
        spot = (self.left - 50, self.top + _HIGH / 2)
        yield _text(spot, y, anchor="middle", turned=True)

    def ticks(self, x_of: Iterable[tuple[float, str]], y_of: Iterable[tuple[float, str]]) -> Iterator[str]:
        """Numbers beside the axes."""
        floor = math.exp(self.y[0])
        wall = math.exp(self.x[0])
        for number, told in x_of:
            across, _ = self.at(number, floor)
            yield _text((across, self.top + _HIGH + 16), told, anchor="middle", size=10)
        for number, told in y_of:
            _, down = self.at(wall, number)
            yield _text((self.left - 5, down + 3), told, anchor="end", size=10)


def picture(study: Study) -> str:
    """The whole picture."""
    found = study.result.architectures
    minima = any(of.missing is None for one in found for of in one.optima)
    panels = len(found) + (2 if minima else 0)
    width = _LEFT + min(panels, _COLUMNS) * (_WIDE + _GAP) - _GAP + 20
    height = -(-panels // _COLUMNS) * (_TOP + _HIGH + _BELOW)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif" font-size="12">',
            f"<title>{escape(study.sentence)}</title>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *(line for place, one in enumerate(found) for line in _sizes(study, one, place)),
            *(_against_compute(study, len(found)) if minima else ()),
            "</svg>\n",
        ]
    )


def _sizes(study: Study, one: Scaling, place: int) -> Iterator[str]:
    """Errors of an architecture against its sizes, a curve for each budget, and where each is lowest."""
    cells: dict[float, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in study.points:
        if point.architecture == one.architecture:
            cells[point.budget][point.training_macs].append(point.errors[study.result.metric])
    everywhere = [point.errors[study.result.metric] for point in study.points]
    sizes = sorted({size for of in cells.values() for size in of})
    panel = _panel(place, sizes, everywhere)
    yield from panel.frame(one.architecture, "training MACs of an image", study.result.metric)
    yield from panel.ticks([(size, macs(size)) for size in _ends(sizes)], _errors(everywhere))
    colour = _COLOURS[place % len(_COLOURS)]
    for number, of in enumerate(one.optima, start=1):
        opacity = 0.3 + 0.7 * number / len(one.optima)
        curve = [panel.at(size, fmean(errors)) for size, errors in sorted(cells[of.budget].items())]
        drawn = "".join([_line(curve), *map(_dot, curve)])
        yield f'<g stroke="{colour}" fill="{colour}" opacity="{opacity:.2f}">{drawn}</g>'
        yield _text((curve[-1][0] - 4, curve[-1][1] - 6), flops(of.budget), anchor="end", size=9, colour=colour)
        if of.size is not None and of.error is not None:
            yield _ring(panel.at(of.size, of.error), _INK)


def _against_compute(study: Study, place: int) -> Iterator[str]:
    """The best sizes, then the best errors, of all architectures, with their laws."""
    found = study.result.architectures
    budgets = sorted({of.budget for one in found for of in one.optima})
    for shift, (title, errors) in enumerate((("best size", False), ("best error", True))):
        values = [value for one in found for of in one.optima if (value := _value(of, errors)) is not None]
        panel = _panel(place + shift, budgets, values)
        yield from panel.frame(title, "training FLOPs", study.result.metric if errors else "training MACs of an image")
        told = [(value, (figures if errors else macs)(value)) for value in _ends(values)]
        yield from panel.ticks([(c, flops(c)) for c in budgets], told)
        for number, one in enumerate(found):
            yield from _course(panel, one, errors, _COLOURS[number % len(_COLOURS)], number)


def _course(panel: _Panel, one: Scaling, errors: bool, colour: str, number: int) -> Iterator[str]:
    """The minima of one architecture, with intervals; its law; and what was held out of it, as a ring."""
    tested = one.laws.test.budget if one.laws else None
    for of in one.optima:
        value, ends = _value(of, errors), of.error_interval if errors else of.size_interval
        if value is None:
            continue
        spot = panel.at(of.budget, value)
        if ends:
            yield f'<g stroke="{colour}">{_line([panel.at(of.budget, end) for end in ends])}</g>'
        yield _ring(spot, colour) if of.budget == tested else f'<g fill="{colour}">{_dot(spot)}</g>'
    beside = _WIDE - 8 if errors else 8  # where errors that fall, and sizes that grow, leave room
    spot = (panel.left + beside, panel.top + 16 + 14 * number)
    yield _text(spot, one.architecture, anchor="end" if errors else "start", size=10, colour=colour)
    if one.laws:
        law = one.laws.error if errors else one.laws.size
        ends_of_line = [_on(panel, law, c) for c in (one.optima[0].budget, one.optima[-1].budget)]
        yield f'<g stroke="{colour}" stroke-dasharray="4 3">{_line(ends_of_line)}</g>'


def _value(of: Optimum, errors: bool) -> float | None:
    return of.error if errors else of.size


def _on(panel: _Panel, law: Law, budget: float) -> Spot:
    return panel.at(budget, law.factor * budget**law.exponent)


def _panel(place: int, x: Sequence[float], y: Sequence[float]) -> _Panel:
    row, column = divmod(place, _COLUMNS)
    return _Panel(_LEFT + column * (_WIDE + _GAP), _TOP + row * (_TOP + _HIGH + _BELOW), _span(x), _span(y))


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log(min(values)), math.log(max(values))
    beside = _MARGIN * (high - low) or 0.1
    return low - beside, high + beside


def _ends(values: Sequence[float]) -> list[float]:
    """The least and the most, and what lies between them on a logarithmic axis."""
    low, high = min(values), max(values)
    return sorted({low, math.sqrt(low * high), high})


def _errors(values: Sequence[float]) -> list[tuple[float, str]]:
    return [(value, f"{value:.3g}") for value in _ends(values)]


def _line(spots: Sequence[Spot]) -> str:
    return f'<polyline fill="none" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}"/>'


def _dot(spot: Spot) -> str:
    return f'<circle cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="2.5" stroke="none"/>'


def _ring(spot: Spot, colour: str) -> str:
    return f'<circle cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="4" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _text(
    spot: Spot,
    told: str,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    colour: str = _INK,
    turned: bool = False,
) -> str:
    x, y = (f"{number:.1f}" for number in spot)
    turn = f' transform="rotate(-90 {x} {y})"' if turned else ""
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}"{turn}>'
        f"{escape(told)}</text>"
    )
