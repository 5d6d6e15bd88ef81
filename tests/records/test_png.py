"""What is no picture, is more than one, or is too large to be shown, is no record's grid of samples."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from tampering import chunk, png

from ditbench.records.validation.png import MAX_SIDE, fault, moves, size_of, still
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


def frame(number, size=(32, 1), place=(0, 0), time=(1, 4), ways=(0, 0), pixels=None):
    """The two parts of a frame that covers the picture for a quarter of a second."""
    head = struct.pack(">5I2H2B", number, *size, *place, *time, *ways)
    content = zlib.compress(ROWS) if pixels is None else pixels
    return chunk(b"fcTL", head) + chunk(b"fdAT", struct.pack(">I", number + 1) + content)


def clips(*frames, says=None):
    """A grey picture of 32 pixels that has these frames, and says so."""
    count = chunk(b"acTL", struct.pack(">II", len(frames) if says is None else says, 0))
    return png(count)[: -len(END)] + b"".join(frames) + END


END = chunk(b"IEND")
FAULTY_CLIPS = {
    "more frames than there are": (clips(frame(0), frame(2), says=9), "says that it has 9 frames, and has 2"),
    "fewer frames": (clips(frame(0), frame(2), says=1), "says that it has 1 frames, and has 2"),
    "no frames": (clips(), "a head, pixels and an end with frames between"),
    "frames that nothing announces": (clips(frame(0)).replace(b"acTL", b"IDAT"), "a head, pixels and an end with"),
    "a frame without pixels": (clips(chunk(b"fcTL", bytes(26))), "an end with frames between"),
    "a count of another length": (png(chunk(b"acTL", bytes(4)))[: -len(END)] + frame(0) + END, "has another length"),
    "a frame's head of another length": (clips(chunk(b"fcTL", bytes(27)) + frame(0)[38:]), "has another length"),
    "frames in another order": (clips(frame(2), frame(0)), "the parts of its frames are not in order"),
    "a bomb": (clips(frame(0), frame(2, pixels=HUGE)), "a frame, number 2, that is damaged: its pixels can't be"),
    "a smaller frame than it says": (clips(frame(0, pixels=zlib.compress(b""))), "its pixels are 0 bytes, should be"),
    "a frame beyond the picture": (clips(frame(0), frame(2, (2**31, 2**31))), "should have 64 of 67,108,864 in all"),
    "a frame beside the picture": (clips(frame(0, (31, 1), (2, 0))), "number 1, that is not within the picture"),
    "an empty frame": (clips(frame(0, (0, 1))), "number 1, that is not within the picture"),
    "many frames": (clips(*(frame(2 * number) for number in range(65))), "has 65 frames of 2,080 pixels"),
    "a frame that flashes": (clips(frame(0), frame(2, time=(1, 5))), "number 2, that is shown for less than 1/4 s"),
    "a frame of no time": (clips(frame(0, time=(0, 0))), "number 1, that is shown for less than 1/4 s"),
    "a frame that goes": (clips(frame(0, ways=(1, 0))), "number 1, that is of another kind than runs write"),
    "a text between": (clips(frame(0), chunk(b"tEXt", b"Author\0me")), "holds more than a picture: \"b'tEXt'\""),
    "what hides behind a frame": (clips(frame(0, pixels=zlib.compress(ROWS) + b"hidden")), "something follows them"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY_CLIPS)
def test_clips_that_are_more_or_other_than_they_say_are_told_in_bounded_memory(name):
    content, words = FAULTY_CLIPS[name]
    tracemalloc.start()
    found = fault(content, clips=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words in found and "\n" not in found
    assert peak < 2**23


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("moving", [True, False])
def test_a_run_s_own_clips_are_a_picture_and_without_their_frames_are_one(tmp_path, channels, moving):
    """Also where nothing moves in them."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4 if moving else 1, channels, 16, 16), dtype=np.uint8)
    write_grid(tmp_path / "grid.png", np.repeat(pixels, 1 if moving else 4, 1), np.arange(20) % 2, ("a", "b"))
    content = (tmp_path / "grid.png").read_bytes()
    assert fault(content, clips=True) == "" and moves(content)
    assert fault(content) == "holds more than a picture: \"b'acTL'\""
    alone = still(content)
    assert fault(alone) == "" and not moves(alone) and size_of(alone) == size_of(content)
    with Image.open(io.BytesIO(content)) as first, Image.open(io.BytesIO(alone)) as only:
        assert np.array_equal(np.asarray(first), np.asarray(only)) and only.format == "PNG" and not only.info


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
