"""Results of other harnesses, read from the files that these write: numbers that somebody else measured.

They become published numbers (`reported.py`), which no rank has.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pydantic

from ..errors import BadFile, BadValue
from ..records.metric_constants import protocol
from ..storage.reading import read_bytes, read_json, read_text
from ..storage.schema import first_fault
from ..tracks.budget import Budget
from .reported import Setting

Harness = Literal["adm", "diffusionbench"]
_KIND = "file of results"
_MAX = 2**24  # bytes
_LINE = re.compile(r"^\s*(Inception Score|FID|sFID|Precision|Recall):\s*(\S.*?)\s*$", re.MULTILINE)
_METRICS = {  # as the harnesses call them, in small letters -> as they are called here
    "fid": "fid",
    "sfid": "sfid",
    "inception score": "is",
    "inception_score": "is",
    "is": "is",
    "precision": "precision",
    "recall": "recall",
}
_BETWEEN = {"precision": (0.0, 1.0), "recall": (0.0, 1.0), "is": (1.0, math.inf)}
_ABOUT = ("model", "step", "dataset")  # columns of DiffusionBench that are no metric


class Result(NamedTuple):
    """One evaluation in a file."""

    model: str  # empty: the file does not say
    steps: int | None  # of training
    values: dict[str, float]  # by the metrics' names here


@dataclass(frozen=True)
class Results:
    """What a file holds."""

    sha256: str
    found: tuple[Result, ...]
    left_out: tuple[str, ...]  # names of metrics that are not known here


def read_results(path: Path, harness: Harness) -> Results:
    """What a harness has measured; `BadFile` names the file, and what in it is wrong."""
    found, left_out = _READERS[harness](path)
    if not found:
        raise BadFile(
            f"The {_KIND} {str(path)!r} has none of the numbers that {_NAMES[harness]} writes: {_FORMS[harness]}."
        )
    sha256 = hashlib.sha256(read_bytes(path, _KIND, _MAX)).hexdigest()
    return Results(sha256, tuple(found), tuple(sorted(left_out)))


def settings_of(
    results: Results, harness: Harness, *, samples: int, features: str, architecture: str, about: Mapping[str, Any]
) -> list[Setting]:
    """The numbers as published ones, a setting for each budget.

    `architecture` is that of a file that names no model; `about` is what the file does not say: fields of `Setting`,
    `track` and `paper` among them. `BadValue` where the two don't fit.
    """
    asked = about.get("budget") or ""
    asked = str(Budget.parse(asked)) if asked else ""
    by_budget: dict[str | None, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for result in results.found:
        model = _only(architecture, result.model, "`architecture`", "the model")
        budget = _only(asked, _budget(result.steps), "`budget`", "steps", needed=False)
        for metric, value in result.values.items():
            name = protocol(metric, samples, features)
            known = by_budget[budget or None][name]
            if model in known:
                raise BadValue(f"The file has {metric} of {model!r} at {budget or 'no budget'} twice: leave one in it.")
            known[model] = value
    try:
        return [
            Setting.model_validate(
                {**about, "harness": _NAMES[harness], "file_sha256": results.sha256, "budget": budget, "values": values}
            )
            for budget, values in by_budget.items()
        ]
    except pydantic.ValidationError as error:
        raise BadValue(f"These results can't be entered: {first_fault(error, Setting)}.") from None


def _only(given: str, found: str, option: str, what: str, needed: bool = True) -> str:
    """What is said of a result, by the file or by whoever enters it."""
    if given and found and given != found:
        raise BadValue(f"{option} is {given!r}, but the file says {what} is {found!r}: leave {option} out.")
    if needed and not given and not found:
        raise BadValue(f"The file does not say {what}: name it with {option}.")
    return given or found


def _budget(steps: int | None) -> str:
    return str(Budget.parse(f"{steps}-steps")) if steps else ""


def _adm(path: Path) -> tuple[list[Result], set[str]]:
    """What ADM's evaluator prints, among whatever else it says."""
    values: dict[str, float] = {}
    for name, text in _LINE.findall(read_text(path, _KIND, _MAX)):
        metric = _METRICS[name.lower()]
        if metric in values:
            raise BadFile(f"The {_KIND} {str(path)!r} has {name} twice: give each evaluation a file of its own.")
        values[metric] = _number(path, name, metric, text)
    return ([Result("", None, values)] if values else []), set()


def _diffusionbench(path: Path) -> tuple[list[Result], set[str]]:
    """Its CSV, or the same as JSON: an object for each evaluation, or one alone."""
    rows = _rows(path)
    metrics = {name: _METRICS.get(name.lower()) for row in rows for name in row if name not in _ABOUT}
    found, datasets = [], set()
    for row in rows:
        given = {name: of for name, of in metrics.items() if of and row.get(name) not in (None, "")}
        if twice := [name for name, of in given.items() if list(given.values()).count(of) > 1]:
            raise BadFile(f"The {_KIND} {str(path)!r} has one metric as {' and '.join(twice)}: leave one in it.")
        if given:
            values = {of: _number(path, name, of, row[name]) for name, of in given.items()}
            found.append(Result(str(row.get("model") or ""), _steps(path, row), values))
            datasets.add(str(row.get("dataset") or ""))
    if len(datasets) > 1:
        raise BadFile(f"The {_KIND} {str(path)!r} is of several data sets ({', '.join(sorted(datasets))}): keep one.")
    return found, {name for name, of in metrics.items() if of is None}


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() != ".json":
        return _csv_rows(path)
    content = read_json(path, _KIND, limit=_MAX)
    rows = [content] if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadFile(f"The {_KIND} {str(path)!r} is neither an object with fid and the like, nor a list of such.")
    return rows


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, _KIND, _MAX)), strict=True)
        rows, heads = list(reader), list(reader.fieldnames or ())
    except csv.Error as error:
        raise BadFile(f"The {_KIND} {str(path)!r} is no CSV: {error}.") from None
    if any(None in row or None in row.values() for row in rows):
        raise BadFile(f"The {_KIND} {str(path)!r} is no CSV: a line has more or fewer cells than the first.")
    if twice := [name for name in heads if heads.count(name) > 1]:
        raise BadFile(f"The {_KIND} {str(path)!r} has the column {twice[0]!r:.60} twice: leave one in it.")
    return rows


def _steps(path: Path, row: Mapping[str, Any]) -> int | None:
    """None: it is not said. DiffusionBench writes 0 for weights that it was given."""
    text = str(row.get("step") or "0")
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise BadFile(f"The {_KIND} {str(path)!r}: step is {text!r:.60}, which is no whole number.")
    return int(text) or None


def _number(path: Path, name: str, metric: str, given: object) -> float:
    """A value that the metric can have."""
    least, most = _BETWEEN.get(metric, (0.0, math.inf))
    try:
        value = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not (math.isfinite(value) and least <= value <= most):
        span = f"from {least:g} to {most:g}" if math.isfinite(most) else f"from {least:g} on"
        raise BadFile(f"The {_KIND} {str(path)!r}: {name} is {given!r:.60}, which is no number {span}.")
    return value


_READERS: dict[Harness, Callable[[Path], tuple[list[Result], set[str]]]] = {
    "adm": _adm,
    "diffusionbench": _diffusionbench,
}
_NAMES: dict[Harness, str] = {"adm": "ADM's evaluator", "diffusionbench": "DiffusionBench"}
_FORMS: dict[Harness, str] = {
    "adm": "lines such as 'FID: 2.27'",
    "diffusionbench": "columns such as fid and inception_score, or the same in JSON",
}
