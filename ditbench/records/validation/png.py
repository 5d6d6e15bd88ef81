"""A PNG that is a picture and no more: all of its pixels, few enough to be shown, and nothing beside or behind them.

Without texts, places and dates; what says that it is a picture, and holds something else, is none. Clips are a picture
that moves (APNG) as runs write it: a still picture first, and then the frames, of which that is none.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from .faults import shown

MAX_SIDE = 2**14  # pixels; a grid of samples of 512 pixels has 5,164
MAX_PIXELS = 2**26  # of a picture, and of all frames together
MAX_FRAMES = 64
PACE = 4  # frames a second, at most: nothing can flash more than three times a second, which brings on seizures
_BEGINNING = b"\x89PNG\r\n\x1a\n"
_OF_A_PICTURE = {b"IHDR": "h", b"IDAT": "p", b"IEND": "e"}
_OF_CLIPS = _OF_A_PICTURE | {b"acTL": "n", b"fcTL": "c", b"fdAT": "f"}  # the number of frames; a frame's head, pixels
_PICTURE, _CLIPS = re.compile("hp*e"), re.compile("hnp+(cf+)+e")
_CHANNELS = {0: 1, 2: 3}  # by the colour type: grey, and RGB
_FILTERS = 5  # kinds of rows
_CHUNKS = 2**14  # a picture has one for 64 KiB or less
_PART = 2**20  # bytes that are unpacked at a time
_NUMBER, _FRAME = 4, struct.Struct(">4I2H2B")  # bytes with which each part of a frame begins; then what its head says
_SIZES = {b"fcTL": (_NUMBER + _FRAME.size,), b"fdAT": range(_NUMBER, 2**32)}  # bytes


class _Chunk(NamedTuple):
    kind: bytes
    body: bytes
    whole: bool  # by its checksum


class _Frame(NamedTuple):
    """A frame of clips, which covers a part of the picture, or all of it."""

    width: int
    height: int
    left: int
    top: int
    time: int  # for which it is shown, in `unit`s
    unit: int  # of which a second has so many
    disposal: int  # 0: it stays until it is covered
    blending: int  # 0: what it covers is gone


def fault(png: bytes, clips: bool = False) -> str:
    """What keeps a file from being a picture and no more, e.g. ``"is no PNG"``; empty if nothing does.

    clips: whether it is of clips, and so may move.
    """
    if not png.startswith(_BEGINNING):
        return "is no PNG"
    known = _OF_CLIPS if clips else _OF_A_PICTURE
    found = list(islice(_chunks(png), _CHUNKS + 1))
    more = next((chunk.kind for chunk in found if chunk.kind not in known), None)
    if more is not None:
        return f"holds more than a picture: {shown(repr(more))}"
    form = "".join(known[chunk.kind] for chunk in found)
    if len(form) > _CHUNKS:
        return f"is damaged: it is in more than {_CHUNKS:,} parts"
    if not (_CLIPS if "n" in form else _PICTURE).fullmatch(form) or len(found[0].body) != 13:
        return f"is damaged: its parts are not a head, pixels and an end{' with frames between' if clips else ''}"
    if broken := next((chunk.kind for chunk in found if not chunk.whole), None):
        return f"is damaged: the checksum of {broken.decode()} is another"
    width, height, _, colour, *_ = head = struct.unpack(">IIBBBBB", found[0].body)
    pixels = [chunk.body for chunk in found if chunk.kind == b"IDAT"]
    frames = [chunk for chunk in found if chunk.kind in (b"fcTL", b"fdAT")]
    return (
        _fault_of_head(head)
        or _fault_of_pixels(width, height, colour, pixels)
        or (_fault_of_frames(found[1].body, frames, head) if frames else "")
    )


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height of a picture that has no fault, in pixels."""
    width, height = struct.unpack_from(">II", png, len(_BEGINNING) + 8)
    return width, height


def moves(png: bytes) -> bool:
    """Whether a picture that has no fault is of frames."""
    return any(chunk.kind == b"acTL" for chunk in islice(_chunks(png), 2))


def still(png: bytes) -> bytes:
    """The picture without its frames: what is shown where motion is unwanted."""
    parts = [chunk for chunk in _chunks(png) if chunk.kind in _OF_A_PICTURE]
    return _BEGINNING + b"".join(
        struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body, _ in parts
    )


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


def _fault_of_head(head: Sequence[int]) -> str:
    width, height, depth, colour, *methods = head
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        return (
            f"has {width:,} x {height:,} pixels, should have 1 to {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all at most"
        )
    if depth != 8 or colour not in _CHANNELS or any(methods):
        return "is of another kind than runs write: should be grey or RGB, of 8 bits and not interlaced"
    return ""


def _fault_of_pixels(width: int, height: int, colour: int, packed: Sequence[bytes]) -> str:
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


def _fault_of_frames(count: bytes, parts: Sequence[_Chunk], head: Sequence[int]) -> str:
    """`count`: how many there are, as the picture says; `parts`: of each its head, and its pixels."""
    width, height, _, colour, *_ = head
    if len(count) != 8 or any(len(of.body) not in _SIZES[of.kind] for of in parts):
        return "is damaged: a part of its frames has another length"
    if [int.from_bytes(part.body[:_NUMBER]) for part in parts] != list(range(len(parts))):
        return "is damaged: the parts of its frames are not in order"
    frames = _frames(parts)
    if (said := int.from_bytes(count[:4])) != len(frames):
        return f"is damaged: it says that it has {said:,} frames, and has {len(frames):,}"
    pixels = sum(frame.width * frame.height for frame, _ in frames)
    if len(frames) > MAX_FRAMES or pixels > MAX_PIXELS:
        most = f"{MAX_FRAMES} of {MAX_PIXELS:,} in all at most"
        return f"has {len(frames):,} frames of {pixels:,} pixels, should have {most}"
    for number, (frame, packed) in enumerate(frames, 1):
        what = _fault_of_frame(frame, width, height) or _fault_of_pixels(frame.width, frame.height, colour, packed)
        if what:
            return f"has a frame, number {number}, that {what}"
    return ""


def _frames(parts: Sequence[_Chunk]) -> list[tuple[_Frame, list[bytes]]]:
    """Each frame, and its packed pixels."""
    found: list[tuple[_Frame, list[bytes]]] = []
    for kind, body, _ in parts:
        if kind == b"fcTL":
            found.append((_Frame(*_FRAME.unpack_from(body, _NUMBER)), []))
        else:
            found[-1][1].append(body[_NUMBER:])
    return found


def _fault_of_frame(frame: _Frame, width: int, height: int) -> str:
    if not (0 < frame.width <= width - frame.left and 0 < frame.height <= height - frame.top):
        return "is not within the picture"
    if frame.time * PACE < (frame.unit or 100):  # as the format says of 0
        return f"is shown for less than 1/{PACE} s"
    if frame.disposal or frame.blending:
        return "is of another kind than runs write: should replace what it covers, and stay"
    return ""


def _unpacked(packed: Sequence[bytes], expected: int) -> Iterator[bytes]:
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
