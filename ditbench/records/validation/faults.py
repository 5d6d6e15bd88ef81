"""Faults of a record, a line each: the field, what it says, and what it should be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

Faults = Iterator[str]

_WIDTH = 100  # characters of a value that are shown


def shown(value: object) -> str:
    """A value of a record, which anybody may have written, in one line: printable, and not too long."""
    text = "none" if value is None else json.dumps(value, default=str, ensure_ascii=False)
    return short(text, _WIDTH)


def short(text: str, width: int = 300) -> str:
    """Text without control characters, cut to a width."""
    text = "".join(c if c.isprintable() else "?" for c in text[: width + 1])
    return text if len(text) <= width else f"{text[: width - 3]}..."


def differs(field: str, says: object, should: object, why: str = "") -> Faults:
    """A fault if a field is not what it should be; a float may differ by rounding."""
    if isinstance(says, float) and isinstance(should, int | float):
        same = math.isclose(says, should, rel_tol=1e-9, abs_tol=1e-15)
    else:
        same = says == should
    if not same:
        yield f"{field} is {shown(says)}, should be {shown(should)}{f' ({why})' if why else ''}"


def not_negative(field: str, seconds: dict[str, float]) -> Faults:
    """A fault for each duration below 0."""
    for name, value in seconds.items():
        if value < 0:
            yield f"{field}.{name} is {shown(value)}, should not be below 0"


def positive(field: str, seconds: list[float]) -> Faults:
    """A fault for each duration that is not above 0."""
    for place, value in enumerate(seconds):
        if value <= 0:
            yield f"{field}.{place} is {shown(value)}, should be above 0"
