"""Files of strangers, read: what is no file, too large, no UTF-8, no JSON or no TOML ends in one clear line.

A pipe would be waited for, for ever, and a device may have no end: neither is opened. Nothing here runs what it reads.
"""

from __future__ import annotations

import errno
import json
import os
import re
import reprlib
import stat
import tomllib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any

from ..errors import BadFile, one_line

MAX_TEXT = 2**26  # bytes of a file of text or JSON
MAX_TOML = 2**20  # bytes: of Python, its reader is slow
MAX_DEPTH = 50  # of lists and tables within each other
MAX_WHOLE = 2**63  # of a whole number in TOML, which has 64 bits for it
_MAX_PARTS = 50  # of a dotted key in TOML: reading one takes time with their square
_KINDS: dict[Callable[[int], bool], str] = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
_OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_WAIT_FOR_NOBODY = getattr(os, "O_NONBLOCK", 0)  # should it become a pipe between the look and the opening
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"

Pairs = Callable[[list[tuple[str, Any]]], dict[str, Any]]


class Unreadable(BadFile):
    """A file that can't be read as what it should be; `reason` is why, for whoever has more to say."""

    def __init__(self, kind: str, path: Path, reason: str) -> None:
        self.kind, self.path, self.reason = kind, path, reason
        super().__init__(f"The {kind} {str(path)!r} can't be read: {reason}.")

    def __reduce__(self) -> tuple[type[Unreadable], tuple[str, Path, str]]:
        return Unreadable, (self.kind, self.path, self.reason)


def open_regular(path: Path) -> BufferedReader:
    """A file, opened to read its bytes; `OSError` with words for a person if there is none that can be read.

    Links are followed. A folder, a pipe, a device and a socket are no files.
    """
    try:
        if (what := _no_file(path.stat().st_mode)) is None:
            file = os.fdopen(os.open(path, os.O_RDONLY | _WAIT_FOR_NOBODY | getattr(os, "O_BINARY", 0)), "rb")
            if (what := _no_file(os.fstat(file.fileno()).st_mode)) is not None:
                file.close()
    except FileNotFoundError:
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "it is a link that leads nowhere") from None
        raise
    except ValueError:
        raise OSError(errno.EINVAL, "its name has a NUL in it") from None
    if what is not None:
        raise OSError(errno.EINVAL, f"it is {what}, no file")
    return file


def open_file(path: Path, kind: str) -> BufferedReader:
    """The same; `Unreadable` names the kind and the file."""
    try:
        return open_regular(path)
    except OSError as error:
        raise Unreadable(kind, path, reason_of(error)) from None


def check_file(path: Path, kind: str) -> int:
    """The size in bytes of a file that a library is to open by its name; `Unreadable` if it must not."""
    with open_file(path, kind) as file:
        return os.fstat(file.fileno()).st_size


def read_bytes(path: Path, kind: str, limit: int = MAX_TEXT) -> bytes:
    """A file's content; `Unreadable` if it has more than `limit` bytes."""
    with open_file(path, kind) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise Unreadable(kind, path, reason_of(error)) from None
    if len(content) > limit:
        raise Unreadable(kind, path, f"it is larger than {limit:,} bytes, the most that is read of such a file")
    return content


def read_text(path: Path, kind: str, limit: int = MAX_TEXT) -> str:
    """UTF-8 text with lines that end in a newline, without a byte-order mark; `Unreadable` says why it is none."""
    content = read_bytes(path, kind, limit)
    for mark, name in _OTHER_MARKS.items():
        if content.startswith(mark):
            raise Unreadable(kind, path, f"it is {name}, as its byte-order mark says; save it as UTF-8")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise Unreadable(kind, path, f"it is not UTF-8 (byte {error.start:,}); save it as UTF-8") from None


def read_json(path: Path, kind: str, *, limit: int = MAX_TEXT, pairs: Pairs | None = None) -> Any:
    """What a JSON file holds; `pairs` makes its objects, as in `json.loads`.

    NaN and Infinity are read as numbers: a model tells the field. `Unreadable` also if it is nested too deep.
    """
    return _parsed(path, kind, limit, lambda text: json.loads(text, object_pairs_hook=pairs))


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """The table that a TOML file is; `Unreadable` also if it is nested too deep or has numbers beyond 64 bits."""
    table: dict[str, Any] = _parsed(path, kind, MAX_TOML, _toml)
    return table


def reason_of(error: Exception) -> str:
    """Why a file can't be read, in the system's words or, where these help nobody, in ours."""
    if isinstance(error, OSError):
        if error.errno == errno.ELOOP:
            return "its links lead in a circle"
        return error.strerror or one_line(error)
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON, or cut off: see line {error.lineno}, column {error.colno}"
    text = one_line(error)
    if text.startswith("Error while deserializing"):
        return "it is no safetensors file, or cut off"
    if "integer string conversion" in text:
        return "it has a whole number of thousands of digits"
    return text


def depth_of(value: Any) -> int:
    """How deep lists and objects are nested, found without recursion."""
    level, depth = [value], 0
    while level:
        level = [inner for one in level for inner in _inside(one)]
        depth += 1
    return depth


def _no_file(mode: int) -> str | None:
    return next((what for is_such, what in _KINDS.items() if is_such(mode)), None)


def _parsed(path: Path, kind: str, limit: int, parse: Callable[[str], Any]) -> Any:
    text = read_text(path, kind, limit)
    try:
        content = parse(text)
        if depth_of(content) > MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
    except (ValueError, RecursionError) as error:  # of TOML, JSON, and a number of too many digits
        raise Unreadable(kind, path, reason_of(error)) from None
    return content


def _toml(text: str) -> dict[str, Any]:
    words = re.split(r"[^\w.\"'-]+", text.replace(" ", "").replace("\t", ""))
    if any(len(re.findall(r"[^.]\.(?=[^.])", word)) > _MAX_PARTS for word in words):
        raise ValueError(f"it has a key of more than {_MAX_PARTS} parts")
    table = tomllib.loads(text)
    for value in _all_values(table):
        if type(value) is int and abs(value) >= MAX_WHOLE:
            raise ValueError(f"it has a whole number beyond 64 bits, {reprlib.repr(value)}")
    return table


def _all_values(value: Any) -> list[Any]:
    """A value and all that is inside of it."""
    found, level = [], [value]
    while level:
        found += level
        level = [inner for one in level for inner in _inside(one)]
    return found


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
