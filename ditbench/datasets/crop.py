"""Images of any size as DiT and ADM see them: RGB, brought to one size, the middle cut out."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..errors import BadFile
from ..image_sets import DAMAGED, ImageSet, ahead
from ..images import Bytes
from .raw import RawImages

_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes of more than 8 bits, which it would clip to white
_AT_ONCE = 1024  # files between two looks at the results


def centre_crop(image: Image.Image, size: int) -> Bytes:
    """The square in the middle, of `size` px, as bytes (3, size, size).

    The image is halved by averaging while its shorter side has twice the pixels or more, which keeps the bicubic
    step that follows free of aliasing; that one makes the shorter side `size`, up or down (Dhariwal & Nichol, 2021).
    An orientation in the file's EXIF data is not heeded; DiT doesn't, either.
    """
    image = image.convert("RGB")
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image)[top : top + size, left : left + size]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode(content: bytes, title: str) -> Image.Image:
    """The image in an encoded file, of several frames the first. `BadFile` names it by its title if it is none."""
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError:
        raise BadFile(f"{title!r} is no image.") from None
    except Image.DecompressionBombError:
        raise BadFile(f"{title!r} has more pixels than an image should.") from None
    except DAMAGED as error:
        raise BadFile(f"{title!r} is damaged ({' '.join(str(error).split())}).") from None
    if image.mode in _DEEP:
        raise BadFile(f"{title!r} has mode {image.mode}; images have 8 bits a channel.")
    image.info.pop("transparency", None)  # RGB has none, which Pillow would warn of
    return image


def cropped(raw: RawImages, resolution: int, keep: npt.NDArray[np.int64] | None = None, sha256: str = "") -> ImageSet:
    """The images, or those with the numbers in `keep`, as (3, resolution, resolution), decoded as they are asked for.

    sha256: `hash_images` of the same ones, if it is known; or else they are read once more to tell their hash.
    """
    numbers = np.arange(len(raw)) if keep is None else keep

    def batches(size: int) -> Iterator[Bytes]:
        chunks = (numbers[start : start + size].tolist() for start in range(0, len(numbers), size))
        return ahead(chunks, lambda number: centre_crop(decode(raw.read(number), raw.title(number)), resolution))

    @cache
    def content() -> str:
        known = sha256 or hash_images(raw, numbers)
        return hashlib.sha256(f"centre crop, {resolution} px, of {known}".encode()).hexdigest()

    name = raw.name if raw.split == "train" else f"{raw.name} ({raw.split})"
    return ImageSet(name, len(numbers), (3, resolution, resolution), batches, content)


def hash_images(raw: RawImages, numbers: npt.NDArray[np.int64]) -> str:
    """sha256 over the encoded images' own hashes, in this order. Reads them all, on all cores."""

    def digest(number: int) -> bytes:
        return hashlib.sha256(raw.read(number)).digest()

    content = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(numbers), _AT_ONCE):
            for part in pool.map(digest, numbers[start : start + _AT_ONCE].tolist()):
                content.update(part)
    return content.hexdigest()
