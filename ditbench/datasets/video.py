"""Clips out of videos, by PyAV, which brings FFmpeg: what is a video, and what the pixels of its clip are.

The rule, as docs/data.md has it: a clip is the middle of its video, each frame is cropped as an image is. A video has
one frame rate, one size and 8 bits a channel; it is decoded to its end, so that damage anywhere is found. FFmpeg opens
nothing but the three formats named here: others may lead to further files, or to the network.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import BadFile, BadValue, one_line
from ..extras import install
from .crop import centre_crop, check_sides
from .decoding import check_pixels, room_for
from .pixels import Bytes
from .raw import Cut

_FORMATS = {"mov": "MP4", "matroska": "Matroska", "avi": "AVI"}  # by FFmpeg's names; WebM is a Matroska
_UNEVEN = 0.1  # of the usual step in time between two frames: what differs by more has no frame rate
_IN_WORK = 16  # frames that a decoder may hold at once
_BITS = 8  # a channel
_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")  # what Matroska files begin with


def find_library() -> Any:
    """PyAV; `BadValue` with the way to it where it is not installed."""
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError:
        raise BadValue(f"Clips are cut out of videos by 'av': {install('ditbench[video]')}.") from None


def clip_of(content: bytes, title: str, size: int, cut: Cut) -> Bytes:
    """The clip of an encoded video, (F, 3, size, size). `BadFile` names it by its title if it gives none."""
    library = find_library()
    with _faults_of(library, title, content):
        first = _first_frame(library, content, title, cut)
        wanted = range(first, first + cut.span, cut.interval)
        with _opened(library, content, title) as stream:
            told = stream.codec_context.width, stream.codec_context.height
            if not all(told):
                raise BadFile(f"{title!r} does not tell how large its frames are.")
            check_pixels(title, *told)
            with room_for(title, told, size, _IN_WORK):
                frames = enumerate(_frames(stream, title))
                found = [centre_crop(frame.to_image(), size) for number, frame in frames if number in wanted]
        if len(found) < cut.frames:
            raise BadFile(f"{title!r} is damaged (some of its frames can't be decoded).")
        return np.stack(found)


@contextmanager
def _opened(library: Any, content: bytes, title: str) -> Iterator[Any]:
    """The stream of pictures in a video."""
    only = {"format_whitelist": ",".join(_FORMATS)}
    with library.open(io.BytesIO(content), options=only, metadata_errors="replace") as container:
        cover = library.stream.Disposition.attached_pic  # of a song: a picture, but no video
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            holds = "only sound" if container.streams.audio else "no pictures"
            raise BadFile(f"{title!r} holds {holds}, no video.")
        if streams[0].codec_context is None:
            raise BadFile(f"{title!r} is damaged, or of a codec that can't be decoded.")
        streams[0].codec_context.thread_count = 1  # other threads decode other videos
        yield streams[0]


def _first_frame(library: Any, content: bytes, title: str, cut: Cut) -> int:
    """The number of the clip's first frame, by what the container tells of all frames; none is decoded for it."""
    with _opened(library, content, title) as stream:
        packets = [packet for packet in stream.container.demux(stream) if packet.size and not packet.is_discard]
        clock = float(stream.time_base)
    if not packets or _is_cut_off(content) or any(packet.is_corrupt for packet in packets):
        raise BadFile(f"{title!r} is damaged (it is cut off).")
    if len(packets) < cut.span:
        raise BadFile(
            f"{title!r} has {len(packets)} frame{'s' * (len(packets) != 1)}; a clip of {cut.words}, spans {cut.span}."
        )
    shown = [packet.pts for packet in packets]
    _check_even(title, [packet.dts for packet in packets] if None in shown else shown, clock)
    return (len(packets) - cut.span) // 2


def _check_even(title: str, times: list[int | None], clock: float) -> None:
    """`BadFile` if a video has no frame rate, of which an interval is so many steps. clock: seconds of a tick."""
    if None in times:
        raise BadFile(f"{title!r} does not tell when its frames are shown.")
    steps = np.diff(np.sort(np.array(times, np.float64)))
    usual = np.median(steps)
    if (np.abs(steps - usual) > max(1, _UNEVEN * usual)).any():
        shortest, longest = (1000 * clock * step for step in (steps.min(), steps.max()))
        raise BadFile(
            f"{title!r} has a variable frame rate, from {shortest:.4g} to {longest:.4g} ms between two frames, and an "
            "interval counts equal steps. Give it one rate, as FFmpeg's filter fps does."
        )


def _frames(stream: Any, title: str) -> Iterator[Any]:
    """All frames as they are shown, each checked."""
    size: tuple[int, int] | None = None
    for frame in stream.container.decode(stream):
        if frame.is_corrupt:
            raise BadFile(f"{title!r} is damaged (a frame can't be decoded).")
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            change = f"{size[0]}x{size[1]} to {frame.width}x{frame.height}"
            raise BadFile(f"{title!r} changes from {change} pixels; the frames of a video have one size.")
        check_pixels(title, *size)
        check_sides(title, *size)
        deepest = max(component.bits for component in frame.format.components)
        if deepest > _BITS:
            raise BadFile(f"{title!r} has {deepest} bits a channel; videos have {_BITS}. Save it so.")
        yield frame


def _is_cut_off(content: bytes) -> bool:
    """Whether a Matroska file ends before it says. FFmpeg reads such a one as a shorter video, and tells of others."""
    if not content.startswith(_EBML):
        return False
    length, begin = _ebml_length(content, len(_EBML))
    segment = begin + length
    if content[segment : segment + len(_SEGMENT)] != _SEGMENT:
        return False
    length, begin = _ebml_length(content, segment + len(_SEGMENT))
    is_told = length + 1 & length  # all bits are 1 in a stream, which was written without knowing its end
    return bool(is_told) and begin + length > len(content)


def _ebml_length(content: bytes, at: int) -> tuple[int, int]:
    """The length of an element, and where its content begins: as many zero bits as bytes more, then a 1, the number."""
    more = 8 - content[at : at + 1][0].bit_length()
    end = at + 1 + more
    return int.from_bytes(content[at:end]) & (1 << 7 * (more + 1)) - 1, end


@contextmanager
def _faults_of(library: Any, title: str, content: bytes) -> Iterator[None]:
    """What FFmpeg stumbles over, as a `BadFile` that names the video."""
    try:
        yield
    except (library.FFmpegError, ValueError, IndexError) as error:
        if not content:
            raise BadFile(f"{title!r} is no video. It is empty.") from None
        reason = one_line(getattr(error, "strerror", None) or error) or type(error).__name__
        formats = ", ".join(_FORMATS.values())
        raise BadFile(f"{title!r} is no video, or damaged ({reason}). Formats that are read: {formats}.") from None
