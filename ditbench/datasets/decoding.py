"""Encoded images, read by one rule for training and for metrics: what is an image, and what its pixels are.

The rule, as docs/data.md has it: transparency is dropped, palettes and CMYK become RGB as Pillow does it, colour
profiles and EXIF's orientation are not heeded. More than 8 bits a channel, several frames, and more than `MOST_PIXELS`
are refused.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import IO, Literal

from PIL import Image, UnidentifiedImageError

from ..errors import BadFile, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".gif", ".tif", ".tiff")  # what may be images
MOST_PIXELS = 89_478_485  # of an image: a quarter of a GiB in RGB, where Pillow begins to warn
MOST_AT_ONCE = 2**28  # pixels that a process has in work, whatever its cores: three of the largest images
_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP", "GIF", "TIFF")  # Pillow's names; of others it may start programs
_SEVERAL_BY_NATURE = "MPO"  # a camera's JPEG, with previews behind the image
_GREY = ("1", "L", "LA")  # Pillow's modes
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes of more than 8 bits, which it would clip to white
_PNG_DEPTH = 24  # the place of IHDR's bit depth
_TIFF_DEPTH = 258  # the tag BitsPerSample
_NETPBM_HEADER = 1 << 16  # bytes, comments included
_COMMENT = re.compile(rb"#[^\r\n]*")

Channels = Literal[1, 3]
# Blocks of more than 32 MiB go back to the system when they are freed. Of smaller ones each thread would keep its own:
# on 16 cores 7 GB, where three images have 1 GB.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `MOST_PIXELS` is less, and one line


def open_header(stream: IO[bytes], title: str) -> Image.Image:
    """The image in an encoded file, which is judged by its header and not decoded yet; `BadFile` names it by title."""
    with _faults_of(title, stream):
        image: Image.Image = Image.open(stream, formats=_FORMATS)
        _check(image, stream, title)
        return image


class _Room:
    """So many pixels may be in work at a time, in all threads together; who comes with more waits."""

    def __init__(self, pixels: int) -> None:
        self._free, self._changed = pixels, Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Meanwhile these are in work; never more than there is room for."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_room = _Room(MOST_AT_ONCE)


@contextmanager
def decoded(content: bytes, title: str, channels: Channels = 3, shorter: int = 1) -> Iterator[Image.Image]:
    """The image in an encoded file, as RGB or, with one channel, as grey. `BadFile` names it by title if it is none.

    Other threads may have to wait for as long as it is held, so that memory does not grow with the number of cores.
    shorter: pixels of its shorter side once it is resized; if it grows, there must be room for that, too.
    """
    stream = io.BytesIO(content)
    image = open_header(stream, title)
    with room_for(title, image.size, shorter):
        yield _converted(image, stream, title, channels)


@contextmanager
def room_for(title: str, size: tuple[int, int], shorter: int, pictures: int = 1) -> Iterator[None]:
    """Meanwhile, so many pictures of that size are in work, of which one may have to grow; see `decoded`."""
    scale = max(1.0, shorter / min(size))
    width, height = (round(side * scale) for side in size)
    if width * height > MOST_AT_ONCE:
        raise BadFile(
            f"{title!r} would grow to {width:,} x {height:,} pixels; {MOST_AT_ONCE:,} are the most. Choose a smaller "
            "resolution."
        )
    with _room.taken(min(MOST_AT_ONCE, pictures * width * height)):
        yield


def _converted(image: Image.Image, stream: IO[bytes], title: str, channels: Channels) -> Image.Image:
    with _faults_of(title, stream):
        image.load()
        image.info.pop("transparency", None)  # RGB has none, which Pillow would warn of
        mode = "RGB" if channels == 3 else "L"
        return image if image.mode == mode else image.convert(mode)


def channels_of(image: Image.Image) -> Channels:
    """1 if there is no colour in it, by its mode."""
    return 1 if image.mode in _GREY else 3


def check_pixels(title: str, width: int, height: int) -> None:
    """`BadFile` if they are more than an image, or a frame of a video, may have."""
    if width * height > MOST_PIXELS:
        raise BadFile(
            f"{title!r} has {width:,} x {height:,} pixels; an image may have {MOST_PIXELS:,} of them. Make it smaller."
        )


def _check(image: Image.Image, stream: IO[bytes], title: str) -> None:
    check_pixels(title, *image.size)
    if image.mode in _DEEP or _depth(image, stream) > 8:
        deep = image.mode if image.mode in _DEEP else f"{image.mode} of 16 bits"
        raise BadFile(f"{title!r} has mode {deep}; images have 8 bits a channel. Save it so.")
    if image.format != _SEVERAL_BY_NATURE and getattr(image, "is_animated", False):
        raise BadFile(f"{title!r} has {getattr(image, 'n_frames', 'several')} frames; give one image a file.")


def _depth(image: Image.Image, stream: IO[bytes]) -> int:
    """Bits a channel in the file: Pillow reads 16 as 8 without a word. The other formats have 8 at most."""
    if image.format == "PNG":
        stream.seek(_PNG_DEPTH)
        return stream.read(1)[0]
    if image.format == "TIFF":
        return max(image.tag_v2.get(_TIFF_DEPTH, (1,)))  # type: ignore[attr-defined, no-any-return]
    return _netpbm_largest(stream).bit_length() if image.format == "PPM" else 8


def _netpbm_largest(stream: IO[bytes]) -> int:
    """The value that white has in a PPM or PGM; 1 in a bitmap, which doesn't tell. Comments run to the line's end."""
    stream.seek(0)
    words = _COMMENT.sub(b"", stream.read(_NETPBM_HEADER)).split(None, 4)
    return 1 if words[0] in (b"P1", b"P4") else int(words[3])


@contextmanager
def _faults_of(title: str, stream: IO[bytes]) -> Iterator[None]:
    """What a reader stumbles over, as a `BadFile` that names the image."""
    try:
        yield
    except BadFile:
        raise
    except UnidentifiedImageError:
        empty = not stream.seek(0, io.SEEK_END)
        more = "It is empty." if empty else f"Formats that are read: {', '.join(_FORMATS)}."
        raise BadFile(f"{title!r} is no image. {more}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadFile(f"{title!r} has more pixels than the {MOST_PIXELS:,} that an image may have.") from None
    except Exception as error:  # damage can fail in many ways
        reason = one_line(error) or type(error).__name__
        raise BadFile(f"{title!r} is damaged ({reason}).") from None
