"""JSON that anybody may have written: read without harm, and what readers of JSON differ in is told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...storage.reading import Unreadable, read_json
from .faults import shown

MAX_WHOLE = 2**63  # of a whole number
MAX_TEXT = 4_000  # characters of a text or a name; the reason of a run that failed has a quarter of that


def read_object(path: Path) -> dict[str, Any]:
    """A file's JSON object; `ValueError` says why there is none that can be worked with."""
    try:
        content = read_json(path, "record", pairs=_Object)
    except Unreadable as error:
        raise ValueError(error.reason) from None
    if path.is_symlink():
        raise ValueError("it is a link, should be the file itself")
    if not isinstance(content, dict):
        raise ValueError(f"it is {_called(content)}, should be an object")
    return content


def _called(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _inside(value: Any) -> dict[str | int, Any]:
    return value if isinstance(value, dict) else dict(enumerate(value))


class _Object(dict[str, Any]):
    """A JSON object that knows which of its keys stood twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]


def doubles(value: Any, place: str = "") -> Iterator[str]:
    """Keys of which an object of `read_object` has two: readers differ in which of them counts."""
    for key in getattr(value, "twice", ()):
        yield _join(place, key)
    for key, inner in _inside(value).items() if isinstance(value, dict | list) else ():
        yield from doubles(inner, _join(place, key))


def oddities(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """What Python's reading of JSON lets pass as a number or as text and a record must not hold: where, and what.

    Each ends a sentence that begins with the place.
    """
    if isinstance(value, float) and not math.isfinite(value):
        yield place, f"is {value}, should be finite"
    elif isinstance(value, int) and abs(value) >= MAX_WHOLE:
        yield place, f"is {shown(value)}, should be below {MAX_WHOLE}"
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        yield place, f"is {shown(value)}, should be text"
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        yield place, f"has {len(value):,} characters, should have at most {MAX_TEXT:,}"
    for key, inner in _inside(value).items() if isinstance(value, dict | list) else ():
        if isinstance(key, str) and len(key) > MAX_TEXT:
            yield place, f"has a name of {len(key):,} characters, should have at most {MAX_TEXT:,}"
        else:
            yield from oddities(inner, _join(place, key))


def _join(place: str, key: str | int) -> str:
    return f"{place}.{key}" if place else str(key)
