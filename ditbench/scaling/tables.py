"""A study of scale as tables: what each budget says, and every size that was tried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..errors import in_markdown
from ..leaderboard.intervals import Estimate
from .laws import Interval, Optimum
from .points import EPOCHS, Point
from .study import Study
from .words import WHY, figures, flops, macs

Row = dict[str, str]
OPTIMA = ("architecture", "FLOPs", "best size tried", "error", "best size, MACs", "images", "error there")
SIZES = ("architecture", "FLOPs", "size", "MACs", "parameters", "steps", "epochs", "seeds", "error", "")
REPEATS = "repeats"  # marks a run of more epochs than `EPOCHS`


def optima(study: Study) -> list[Row]:
    """Of each architecture and budget: the best size that was tried, and where the parabola is lowest."""
    return [_optimum(one.architecture, of) for one in study.result.architectures for of in one.optima]


def sizes(study: Study) -> list[Row]:
    """Of each architecture, budget and size: its runs, and the mean of their errors with the interval."""
    cells: dict[tuple[str, float, int], list[Point]] = defaultdict(list)
    for point in study.points:
        cells[point.architecture, point.budget, point.training_macs].append(point)
    return [_size(cells[key], study) for key in sorted(cells)]


def markdown(study: Study) -> str:
    """The study as a page."""
    lost = [f"- {in_markdown(line)}" for line in study.lost]
    parts = [
        "# Scaling",
        in_markdown(study.sentence),
        _table(optima(study), OPTIMA),
        _table(sizes(study), SIZES),
        *(["Runs without a result:", "\n".join(lost)] if lost else []),
        f"Made by `{study.command}`.",
    ]
    return "\n\n".join(parts) + "\n"


def _optimum(architecture: str, of: Optimum) -> Row:
    images = [] if of.size is None else [f"{of.budget / (2 * of.size):,.0f}"]
    row = [architecture, flops(of.budget), of.best, figures(of.best_error), *_fitted(of, images)]
    return dict(zip(OPTIMA, row, strict=True))


def _fitted(of: Optimum, images: Sequence[str]) -> Iterator[str]:
    if of.missing is not None or of.size is None or of.error is None:
        yield from (f"none: {WHY[of.missing or 'few']}", "", "")
        return
    ends = of.size_interval
    yield macs(of.size) + (f" ({macs(ends[0])} to {macs(ends[1])})" if ends else "")
    yield from images
    yield figures(of.error) + _between(of.error_interval)


def _size(runs: Sequence[Point], study: Study) -> Row:
    of, examples = runs[0], study.setting.examples
    estimate = Estimate(tuple(point.errors[study.result.metric] for point in runs))
    half = f" ± {estimate.half_width:.2g}" if estimate.half_width is not None else ""
    epochs = max(point.images for point in runs) / examples
    row = [
        of.architecture,
        flops(of.budget),
        of.size,
        macs(of.training_macs),
        f"{of.parameters:,}",
        f"{of.steps:,}",
        f"{epochs:.2g}",
        str(len(runs)),
        f"{figures(estimate.mean)}{half}",
        REPEATS if epochs > EPOCHS else "",
    ]
    return dict(zip(SIZES, row, strict=True))


def _between(interval: Interval | None) -> str:
    return f" ({figures(interval[0])} to {figures(interval[1])})" if interval else ""


def _table(rows: Sequence[Row], headers: Sequence[str]) -> str:
    lines = [headers, ["---"] * len(headers), *([in_markdown(row[header]) for header in headers] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
