"""JSON that anybody may have written: read without harm, and what readers of JSON differ in is told."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .faults import shown

MAX_BYTES, MAX_DEPTH, MAX_WHOLE = 2**26, 50, 2**63  # of a file, of nesting in it, of a whole number


def read_object(path: Path) -> dict[str, Any]:
    """A file's JSON object; `ValueError` says why there is none that can be worked with."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("it is no file, but a link or a folder")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, should have at most {MAX_BYTES}")
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_Object)
    except (OSError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(content, dict):
        raise ValueError(f"it is a {type(content).__name__}, should be an object")
    if _depth(content) > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    return content


def _depth(value: Any) -> int:
    """How deep lists and objects are nested, without recursion."""
    level, depth = [value], 0
    while level:
        level = [inner for one in level if isinstance(one, dict | list) for inner in _inside(one).values()]
        depth += 1
    return depth


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
    """What Python's reading of JSON lets pass as a number or as text and a record must not hold: where, and what."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, f"{value}, should be finite"
    elif isinstance(value, int) and abs(value) >= MAX_WHOLE:
        yield place, f"{shown(value)}, should be below {MAX_WHOLE}"
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        yield place, f"{shown(value)}, should be text"
    for key, inner in _inside(value).items() if isinstance(value, dict | list) else ():
        yield from oddities(inner, _join(place, key))


def _join(place: str, key: str | int) -> str:
    return f"{place}.{key}" if place else str(key)
