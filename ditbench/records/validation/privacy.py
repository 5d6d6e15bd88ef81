"""What a record must not tell of the machine that made it: paths, and the names of machine, user and home."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_PATHS = re.compile(  # absolute, of POSIX, of Windows, of a network; in somebody's home; as a URL of a file
    r"(?<![\w.:/~-])/[A-Za-z_~.][\w.~-]*|(?<![A-Za-z])[A-Za-z]:[\\/]+\w|\\\\\w|(?<!\w)~/|file:/", re.IGNORECASE
)


def betrayals(value: Any, words: Mapping[str, str], field: str = "the whole") -> Iterator[tuple[str, str]]:
    """Strings in JSON that hold an absolute path, or one of the words in capitals or not: where, and what it is."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from betrayals(key, words, field)
            yield from betrayals(inner, words, str(key) if field == "the whole" else f"{field}.{key}")
    elif isinstance(value, str):
        if _PATHS.search(value):
            yield field, "an absolute path"
        for word, what in words.items():
            if re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", value, re.IGNORECASE):
                yield field, what
