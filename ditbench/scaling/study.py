"""A study of scale as a file: its points, and what follows from them, which whoever reads it makes again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from ..errors import BadFile
from ..records.files import RECORDS, STUDIES
from ..storage.files import is_folder, write_text
from ..storage.schema import Frozen, Words, read_checked
from .laws import Result, analyse
from .points import Point, Setting, place_of, run_of
from .words import sentence

_KIND = "study"
_ROUNDING = 1e-3  # relative: of what is computed on another machine


class Study(Frozen):
    """Runs of some architectures, sizes and budgets, and what they say of scale."""

    schema_version: Literal[1] = 1
    kind: Literal["scaling"] = "scaling"
    created: date  # when the last of its runs ended
    command: str  # that makes it again
    setting: Setting
    points: list[Point]
    lost: list[Words]  # runs that have no result, a line each
    result: Result
    sentence: str


def study_of(
    setting: Setting, points: Sequence[Point], lost: Sequence[str], metric: str, created: date, command: str
) -> Study:
    """What these runs say by one metric. `BadFile` if they lack it."""
    if metric not in setting.protocols:
        raise BadFile(f"The runs have no {metric!r}, only {', '.join(setting.protocols)}.")
    result = analyse(points, metric, setting.examples)
    return Study(
        created=created,
        command=command,
        setting=setting,
        points=list(points),
        lost=list(lost),
        result=result,
        sentence=sentence(setting, result),
    )


def joined(newer: Study, older: Study) -> tuple[list[Point], list[str]]:
    """The runs of two studies, and which of them have no result in either; of equal runs, the newer study's count.

    `BadFile` if the studies are of two settings.
    """
    ours, theirs = newer.setting.model_dump(), older.setting.model_dump()
    other = [f"{name} {theirs[name]!r} and {ours[name]!r}" for name in ours if ours[name] != theirs[name]]
    if other:
        raise BadFile(f"The studies are of two settings and can't be one: {'; '.join(other)}.")
    points = {point.identity: point for point in (*older.points, *newer.points)}
    there = tuple(run_of(point.label, point.budget, point.seed) for point in points.values())
    lost = {line for line in (*older.lost, *newer.lost) if not line.startswith(there)}
    return sorted(points.values(), key=place_of), sorted(lost)


def write_study(study: Study, path: Path) -> None:
    """As JSON, from which `read_study` makes all of it again."""
    write_text(path, study.model_dump_json(indent=1) + "\n")


def read_study(path: Path) -> Study:
    """Read a study and make its result again; `BadFile` if it does not follow from its points."""
    study = read_checked(Study, path, kind=_KIND)
    fault = next(faults_of(study), None)
    if fault:
        raise BadFile(f"The study {str(path)!r} is wrong: {fault}.")
    return study


def studies_beside(records: Path) -> dict[str, Study]:
    """The studies of the leaderboard whose records' folder this is, by name."""
    folder = (records.parent if records.name else records.absolute().parent) / STUDIES
    if records.absolute().name != RECORDS or not is_folder(folder):
        return {}
    return {path.stem: read_study(path) for path in sorted(folder.glob("*.json"))}


def faults_of(study: Study) -> Iterator[str]:
    """What of a study does not follow from its points, or can't be of runs."""
    twice = [identity for identity, count in Counter(point.identity for point in study.points).items() if count > 1]
    if twice or not study.points:
        yield f"the run {twice[0]} stands twice" if twice else "it has no points"
        return
    for point in study.points:
        yield from _of_point(point, study.setting)
    if any(study.result.metric not in point.errors for point in study.points):
        yield f"some points have no {study.result.metric}"
        return
    result = analyse(study.points, study.result.metric, study.setting.examples)
    place = _differs(result.model_dump(mode="json"), study.result.model_dump(mode="json"), "result")
    if place:
        yield f"{place} does not follow from its points"
    elif study.sentence != sentence(study.setting, study.result):
        yield "its sentence does not follow from its result"


def _of_point(point: Point, setting: Setting) -> Iterator[str]:
    """A run ends at the first step that reaches its budget."""
    of_image = 2 * point.training_macs
    spent, before = of_image * point.images, of_image * point.images * (1 - 1 / point.steps)
    if spent < point.budget * (1 - _ROUNDING) or before > point.budget * (1 + _ROUNDING):
        yield f"{point.run_id} spent {spent:.4g} FLOPs on its {point.images:,} images, which is not its budget"
    if point.errors.keys() != setting.protocols.keys():
        yield f"{point.run_id} has the errors {', '.join(point.errors)}, not those of the study"


def _differs(ours: Any, theirs: Any, place: str) -> str:
    """Where two contents differ by more than rounding; empty: nowhere."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return next(filter(None, (_differs(ours[key], theirs[key], f"{place}.{key}") for key in ours)), "")
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next(filter(None, (_differs(*pair, f"{place}.{number}") for number, pair in pairs)), "")
    if isinstance(ours, float) and isinstance(theirs, (float, int)):
        return "" if abs(ours - theirs) <= _ROUNDING * max(abs(ours), abs(theirs)) else place
    return "" if ours == theirs else place
