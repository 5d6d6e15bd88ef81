"""A PNG that is a picture and no more: without texts, places, dates, or what hides behind its end."""

from __future__ import annotations

import struct
from collections.abc import Iterator

BEGINNING = b"\x89PNG\r\n\x1a\n"
_OF_A_PICTURE = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def beyond_a_picture(png: bytes) -> bytes | None:
    """The kind of the first chunk that a picture does not need; None if there is none."""
    return next((kind for kind in chunks(png) if kind not in _OF_A_PICTURE), None)


def chunks(png: bytes) -> Iterator[bytes]:
    """The kinds of a PNG's chunks; one that is cut, or what follows the last, is ``b"?"``."""
    place, kind = len(BEGINNING), b""
    while place < len(png) and kind != b"IEND":
        if place + 12 > len(png):
            break
        length, kind = struct.unpack_from(">I4s", png, place)
        place += 12 + length
        yield kind
    if kind != b"IEND" or place != len(png):
        yield b"?"
