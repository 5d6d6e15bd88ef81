"""What is no picture, is more than one, or is too large to be shown, is no record's grid of samples."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from tampering import chunk, png

from ditbench.records.validation.png import MAX_SIDE, fault, size_of
from ditbench.sampling.pictures import write_grid

ROWS = b"\0" + bytes(32)
HUGE = zlib.compress(bytes(2**24), 9)  # 16 MiB of zeros in 16 KiB
FAULTY = {
    "text": (b"A record's picture", "is no PNG"),
    "text behind the signature": (
        png()[:8] + b"A record's picture it says",
        "holds more than a picture: \"b'?'\"",
    ),
    "text in place of pixels": (png(pixels=b"A record's picture"), "its pixels can't be unpacked (Error -3"),
    "text as pixels": (png(pixels=zlib.compress(b"A record's picture, of 33 bytes..")), "of no known filter"),
    "60,000 x 60,000": (png(head=(60_000, 60_000, 8, 2, 0, 0, 0)), "has 60,000 x 60,000 pixels, should have 1 to"),
    "a long one": (png(head=(1, MAX_SIDE + 1, 8, 2, 0, 0, 0)), "has 1 x 16,385 pixels"),
    "a large one": (png(head=(MAX_SIDE, MAX_SIDE, 8, 2, 0, 0, 0)), "and 67,108,864 in all at most"),
    "none": (png(head=(0, 1, 8, 0, 0, 0, 0), pixels=zlib.compress(b"")), "has 0 x 1 pixels"),
    "a smaller one than it says": (png(head=(32, 2, 8, 0, 0, 0, 0)), "its pixels are 33 bytes, should be 66"),
    "a larger one": (png(pixels=zlib.compress(2 * ROWS)), "something follows them"),
    "a bomb": (png(pixels=HUGE), "something follows them"),
    "what hides behind the pixels": (png(pixels=zlib.compress(ROWS) + b"hidden"), "something follows them"),
    "what hides in a part of its own": (png(chunk(b"IDAT", zlib.compress(ROWS))), "something follows them"),
    "pixels that are cut": (png(pixels=zlib.compress(ROWS)[:-5]), "they are cut off"),
    "no pixels": (png(pixels=b""), "they are cut off"),
    "16 bits": (png(head=(16, 1, 16, 0, 0, 0, 0)), "should be grey or RGB, of 8 bits"),
    "a palette": (png(head=(32, 1, 8, 3, 0, 0, 0)), "should be grey or RGB, of 8 bits"),
    "interlaced": (png(head=(32, 1, 8, 0, 0, 0, 1)), "not interlaced"),
    "a palette beside": (png(chunk(b"PLTE", b"hidden")), "holds more than a picture: \"b'PLTE'\""),
    "two heads": (png(chunk(b"IHDR", bytes(13))), "a head, pixels and an end"),
    "another checksum": (png()[:-1] + b"\0", "the checksum of IEND is another"),
    "many parts": (png(*[chunk(b"IDAT")] * 20_000), "in more than 16,384 parts"),
    "cut": (png()[:-4], "holds more than a picture"),
    "more behind": (png(end=b"PK"), "holds more than a picture"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_no_picture_is_told_in_bounded_memory(name):
    content, words = FAULTY[name]
    tracemalloc.start()
    found = fault(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words in found and "\n" not in found
    assert peak < 2**23


@pytest.mark.parametrize("channels", [1, 3])
def test_a_run_s_own_grid_is_one(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (200, channels, 128, 128), dtype=np.uint8)
    write_grid(tmp_path / "grid.png", pixels, np.arange(200) % 10, [f"class {number}" for number in range(10)])
    content = (tmp_path / "grid.png").read_bytes()
    assert fault(content) == ""
    assert size_of(content) == Image.open(io.BytesIO(content)).size


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("side", [1, 255, 2000])
def test_any_that_is_packed_otherwise_is_one(side, level):
    """Also one of which much comes of few bytes."""
    for image in (Image.new("RGB", (side, side), "red"), Image.effect_noise((side, 3), 50)):
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=level)
        assert fault(file.getvalue()) == ""
