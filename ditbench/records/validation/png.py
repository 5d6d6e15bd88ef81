"""A PNG that is a picture and no more: all of its pixels, few enough to be shown, and nothing beside or behind them.

Without texts, places and dates; what says that it is a picture, and holds something else, is none.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from .faults import shown

MAX_SIDE = 2**14  # pixels; a grid of samples of 512 pixels has 5,164
MAX_PIXELS = 2**26
_BEGINNING = b"\x89PNG\r\n\x1a\n"
_OF_A_PICTURE = (b"IHDR", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3}  # by the colour type: grey, and RGB
_FILTERS = 5  # kinds of rows
_CHUNKS = 2**14  # a picture has one for 64 KiB or less
_PART = 2**20  # bytes that are unpacked at a time


class _Chunk(NamedTuple):
    kind: bytes
    body: bytes
    whole: bool  # by its checksum


def fault(png: bytes) -> str:
    """What keeps a file from being a picture and no more, e.g. ``"is no PNG"``; empty if nothing does."""
    if not png.startswith(_BEGINNING):
        return "is no PNG"
    found = list(islice(_chunks(png), _CHUNKS + 1))
    more = next((chunk.kind for chunk in found if chunk.kind not in _OF_A_PICTURE), None)
    if more is not None:
        return f"holds more than a picture: {shown(repr(more))}"
    kinds = [chunk.kind for chunk in found]
    if len(kinds) > _CHUNKS:
        return f"is damaged: it is in more than {_CHUNKS:,} parts"
    if kinds != [b"IHDR", *[b"IDAT"] * (len(kinds) - 2), b"IEND"] or len(found[0].body) != 13:
        return "is damaged: its parts are not a head, pixels and an end"
    if broken := next((chunk.kind for chunk in found if not chunk.whole), None):
        return f"is damaged: the checksum of {broken.decode()} is another"
    return _fault_of_pixels(found[0].body, [chunk.body for chunk in found[1:-1]])


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height of a picture that has no fault, in pixels."""
    width, height = struct.unpack_from(">II", png, len(_BEGINNING) + 8)
    return width, height


def _chunks(png: bytes) -> Iterator[_Chunk]:
    """A PNG's chunks; one that is cut, or what follows the last, is of kind ``b"?"``."""
    place, kind = len(_BEGINNING), b""
    while place + 12 <= len(png) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", png, place)
        end = place + 12 + length
        if end > len(png):
            break
        body = png[place + 8 : end - 4]
        yield _Chunk(kind, body, struct.pack(">I", zlib.crc32(kind + body)) == png[end - 4 : end])
        place = end
    if kind != b"IEND" or place != len(png):  # also of an end that is cut
        yield _Chunk(b"?", b"", True)


def _fault_of_pixels(head: bytes, packed: list[bytes]) -> str:
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", head)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        return (
            f"has {width:,} x {height:,} pixels, should have 1 to {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all at most"
        )
    if depth != 8 or colour not in _CHANNELS or any(methods):
        return "is of another kind than runs write: should be grey or RGB, of 8 bits and not interlaced"
    row = 1 + width * _CHANNELS[colour]  # bytes, the first of which tells its filter
    unpacked = 0
    try:
        for part in _unpacked(packed, height * row):
            if any(kind >= _FILTERS for kind in part[-unpacked % row :: row]):
                return "is damaged: a row is of no known filter"
            unpacked += len(part)
    except zlib.error as error:
        return f"is damaged: its pixels can't be unpacked ({error})"
    if unpacked != height * row:
        return f"is damaged: its pixels are {unpacked:,} bytes, should be {height * row:,}"
    return ""


def _unpacked(packed: list[bytes], expected: int) -> Iterator[bytes]:
    """What was packed, in parts; `zlib.error` if it is more than was expected, or something follows it."""
    stream, left = zlib.decompressobj(), expected
    for part in packed:
        rest, more = part, True  # more: it may come of what the stream has taken in
        while not stream.eof and left >= 0 and (rest or more):
            most = min(_PART, left + 1)
            found = stream.decompress(rest, most)
            rest, more = stream.unconsumed_tail, len(found) == most
            left -= len(found)
            yield found
        if rest or stream.unused_data:
            raise zlib.error("something follows them")
    if not stream.eof:
        raise zlib.error("they are cut off")
