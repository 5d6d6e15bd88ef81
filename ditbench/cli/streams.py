"""Standard output and error as the command line needs them: a sign that can't be written, or a disk that is full, ends
no command.

Terminals and logs that are not UTF-8 get other signs in place of those they lack. What can't be written at all is lost,
and the command goes on: the records of a run are worth more than the words about it. At the end it is told.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SIGNS = "ditbench-signs"  # the error handler that gives other signs
_OTHER = {
    "↑": "^", "↓": "v", "→": "->", "←": "<-", "±": "+-", "≤": "<=", "≥": ">=", "×": "x", "−": "-", "–": "-", "—": "-",
    "…": "...", "¦": "|", "•": "*", "·": "*", "“": '"', "”": '"', "‘": "'", "’": "'", "✓": "+", "✔": "+", "✗": "x",
}  # fmt: skip


def in_signs_of(encoding: str, text: str) -> str:
    """The text with other signs in place of those that the encoding lacks."""
    return text.encode(encoding, SIGNS).decode(encoding)


@contextmanager
def forgiving() -> Iterator[list[OSError]]:
    """Meanwhile writing to the standard streams never fails; yields what kept standard output from being written.

    Streams of a test stay as they are.
    """
    faults: list[OSError] = []
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _forgiving(sys.stdout, faults), _forgiving(sys.stderr, [])
    try:
        yield faults
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):  # somebody has closed it
                stream.flush()
        sys.stdout, sys.stderr = before


def _forgiving(stream: Any, faults: list[OSError]) -> Any:
    """The same stream, one that forgives; what is not of Python's own making stays as it is."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    stream.flush()
    file = io.BufferedWriter(_Descriptor(stream.fileno(), faults))
    return io.TextIOWrapper(file, stream.encoding, SIGNS, line_buffering=stream.line_buffering)


class _Descriptor(io.RawIOBase):
    """A file that is open already, and stays so. From the first write that fails on, it takes all and keeps nothing."""

    def __init__(self, number: int, faults: list[OSError]) -> None:
        self._number, self._faults = number, faults

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, content: Any) -> int:
        if not self._faults:
            try:
                return self._write(content)
            except OSError as error:
                self._faults.append(error)
        return len(content)

    def _write(self, content: Any) -> int:
        try:
            return os.write(self._number, content)
        except BlockingIOError:  # a terminal or a pipe that another program has made non-blocking
            select.select([], [self._number], [])
            return self._write(content)


def reader_is_gone(fault: OSError) -> bool:
    """Whether a write failed because nobody reads any more, as after ``| head``."""
    return fault.errno == errno.EPIPE


def _in_other_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_other_sign, error.object[error.start : error.end])), error.end


def _other_sign(sign: str) -> str:
    """In ASCII: the sign that stands for it, or a letter without its accents, or a question mark."""
    bare = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode("ascii")
    return _OTHER.get(sign) or bare or "?"


codecs.register_error(SIGNS, _in_other_signs)
