"""Images of any size as DiT and ADM see them: RGB, brought to one size, the middle cut out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import BadFile
from .decoding import decoded
from .image_sets import ImageSet, ahead, of_bounded_size
from .pixels import Bytes
from .raw import TRAINED, RawImages

_LONGEST = 64  # times the shorter side; what is longer would take more memory than its crop is worth
_AT_ONCE = 1024  # files between two looks at the results


def centre_crop(image: Image.Image, size: int) -> Bytes:
    """The square in the middle, of `size` px, as bytes (3, size, size).

    The image is halved by averaging while its shorter side has twice the pixels or more, which keeps the bicubic
    step that follows free of aliasing; that one makes the shorter side `size`, up or down (Dhariwal & Nichol, 2021).
    An orientation in the file's EXIF data is not heeded; DiT doesn't, either.
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image)[top : top + size, left : left + size]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def crop_of(content: bytes, title: str, size: int) -> Bytes:
    """The `centre_crop` of an encoded file, decoded by the rule of `decoding`. `BadFile` names it by its title."""
    with decoded(content, title, shorter=size) as image:
        check_sides(title, *image.size)
        return centre_crop(image, size)


def check_sides(title: str, width: int, height: int) -> None:
    """`BadFile` if a picture is so long that its crop is a small part of it."""
    if max(width, height) > _LONGEST * min(width, height):
        raise BadFile(f"{title!r} has {width} x {height} pixels, and sides of more than {_LONGEST} to 1.")


def cropped(raw: RawImages, resolution: int, keep: npt.NDArray[np.int64] | None = None, sha256: str = "") -> ImageSet:
    """The images, or those with the numbers in `keep`, cut to (3, resolution, resolution) as they are asked for.

    Of videos, the clips, with an axis of frames before that.
    sha256: `hash_images` of the same ones, if it is known; or else they are read once more to tell their hash.
    `BadFile` names what can't be read, of held-out images, too: there `skip_bad` leaves nothing out.
    """
    numbers = np.arange(len(raw)) if keep is None else keep
    in_time, frames = (f"{raw.cut.part} {raw.cut.words}, ", (raw.cut.frames,)) if raw.cut else ("", ())

    def crop(number: int) -> Bytes:
        try:
            return raw.crop(raw.read(number), raw.title(number), resolution)
        except BadFile as error:
            if raw.split == TRAINED:
                raise
            raise BadFile(f"{error} Mend it or move it away: held-out {raw.kind.noun}s are never left out.") from None

    def batches(size: int) -> Iterator[Bytes]:
        size = of_bounded_size(size, raw.frames * resolution, resolution)
        chunks = (numbers[start : start + size].tolist() for start in range(0, len(numbers), size))
        return ahead(chunks, crop)

    @cache
    def content() -> str:
        known = sha256 or hash_images(raw, numbers)
        return hashlib.sha256(f"{in_time}centre crop, {resolution} px, of {known}".encode()).hexdigest()

    name = raw.name if raw.split == TRAINED else f"{raw.name} ({raw.split})"
    return ImageSet(name, len(numbers), (*frames, 3, resolution, resolution), batches, content)


def hash_images(raw: RawImages, numbers: npt.NDArray[np.int64]) -> str:
    """sha256 over the encoded images' own hashes, in this order. Reads them all, on all cores."""
    content = hashlib.sha256()
    for digest in digests(raw, numbers):
        content.update(digest)
    return content.hexdigest()


def digests(raw: RawImages, numbers: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """sha256 of each encoded image, in this order."""

    def digest(number: int) -> bytes:
        return hashlib.sha256(raw.read(number)).digest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(numbers), _AT_ONCE):
            yield from pool.map(digest, numbers[start : start + _AT_ONCE].tolist())
