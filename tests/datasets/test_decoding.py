"""What an encoded image is, and what its pixels are: one rule for training and for metrics."""

import io
import os
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from photos import crops, encoded
from PIL import Image

from ditbench.datasets.crop import centre_crop, crop_of
from ditbench.datasets.decoding import MOST_PIXELS, _Room, channels_of, decoded, open_header
from ditbench.datasets.entries import MOST_BYTES, look_into, read_image
from ditbench.datasets.image_sets import open_images
from ditbench.errors import BadFile

SIDE = 24
PHOTO = crops(1, SIDE, seed=0)[0]
IMAGE = Image.fromarray(PHOTO)


def png(width, height, depth, colour, rows):
    """A PNG by hand: Pillow writes none of 16 bits a channel in colour."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(bits):
    """A TIFF by hand, of SIDE x SIDE black pixels in RGB."""
    size = SIDE * SIDE * 3 * bits // 8
    tags = [(256, 1, SIDE), (257, 1, SIDE), (258, 3, 134), (259, 1, 1), (262, 1, 2), (273, 1, 140), (277, 1, 3)]
    tags += [(278, 1, SIDE), (279, 1, size), (284, 1, 1)]
    body = b"".join(struct.pack("<HHII", tag, 3, count, value) for tag, count, value in tags)
    return (
        b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4) + struct.pack("<HHH", *[bits] * 3) + bytes(size)
    )


def with_alpha():
    alpha = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE))
    image = IMAGE.copy()
    image.putalpha(alpha)
    return image


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # by a quarter
    return encoded(IMAGE, exif=exif)


def animated(kind="PNG"):
    return encoded(IMAGE, kind, save_all=True, append_images=[IMAGE.rotate(90), IMAGE.rotate(180)])


PALETTE = IMAGE.convert("P")
AS_PIXELS = {  # name: content, and the image that it is taken for
    "plain.png": (encoded(IMAGE), IMAGE),
    "UPPER.PNG": (encoded(IMAGE), IMAGE),
    "transparent.png": (encoded(with_alpha()), IMAGE),
    "grey-and-alpha.png": (encoded(with_alpha().convert("LA")), IMAGE.convert("L")),
    "palette.png": (encoded(PALETTE), PALETTE.convert("RGB")),
    "palette-and-alpha.png": (encoded(PALETTE, transparency=bytes(range(256))), PALETTE.convert("RGB")),
    "colour-key.png": (encoded(IMAGE, transparency=tuple(map(int, PHOTO[0, 0]))), IMAGE),
    "bits.png": (encoded(IMAGE.convert("1")), IMAGE.convert("1").convert("L")),
    "turned.png": (turned(), IMAGE),
    "plain.bmp": (encoded(IMAGE, "BMP"), IMAGE),
    "plain.ppm": (encoded(IMAGE, "PPM"), IMAGE),
    "remarks.ppm": (b"P6 # 65535\n# 16\r24 24 #\n255\n" + PHOTO.tobytes(), IMAGE),
    "grey.pgm": (encoded(IMAGE.convert("L"), "PPM"), IMAGE.convert("L")),
}
CMYK = encoded(IMAGE.convert("CMYK"), "JPEG", quality=95)
REFUSED = {
    "deep.png": (png(SIDE, SIDE, 16, 2, (b"\0" + bytes(SIDE * 6)) * SIDE), "mode RGB of 16 bits; images have 8 bits"),
    "deep-grey.png": (encoded(Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 256)), "mode I;16; images have 8"),
    "deep-alpha.png": (png(SIDE, SIDE, 16, 6, (b"\0" + bytes(SIDE * 8)) * SIDE), "of 16 bits"),
    "deep.ppm": (b"P6 24 24 65535\n" + bytes(SIDE * SIDE * 6), "mode RGB of 16 bits"),
    "nine-bits.ppm": (b"P6\n#255\n24 24\n511\n" + bytes(SIDE * SIDE * 6), "mode RGB of 16 bits"),
    "deep.pgm": (b"P5 24 24 65535\n" + bytes(SIDE * SIDE * 2), "mode I; images have 8"),
    "deep.tif": (tiff(16), "of 16 bits"),
    "float.tif": (encoded(Image.fromarray(PHOTO[..., 0].astype(np.float32)), "TIFF"), "mode F; images have 8"),
    "animated.png": (animated(), "has 3 frames; give one image a file"),
    "animated.gif": (animated("GIF"), "has 3 frames; give one image a file"),
    "pages.tif": (animated("TIFF"), "has 3 frames; give one image a file"),
    "huge.png": (
        png(12_000, 12_000, 8, 2, b""),
        r"has 12,000 x 12,000 pixels; an image may have 89,478,485|more pixels than the 89,478,485",
    ),
    "bomb.png": (png(40_000, 40_000, 8, 2, b""), "more pixels than the 89,478,485"),
    "empty.png": (b"", r"is no image\. It is empty\."),
    "text.jpg": (b"hello", r"is no image\. Formats that are read: PNG, JPEG"),
    "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\n", "is no image"),
}
CUT_OFF = {
    "cut.png": encoded(IMAGE)[:-300],
    "cut.jpg": encoded(IMAGE, "JPEG", quality=95)[:-300],
    "cut.bmp": encoded(IMAGE, "BMP")[:-300],
    "cut.ppm": encoded(IMAGE, "PPM")[:-300],
}


def set_of(folder, name, content):
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", AS_PIXELS)
def test_training_and_metrics_see_the_same_pixels(tmp_path, name):
    content, image = AS_PIXELS[name]
    assert np.array_equal(crop_of(content, name, SIDE), centre_crop(image, SIDE))
    ((seen,),) = open_images(set_of(tmp_path, name, content)).batches(1)
    expected = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    assert np.array_equal(seen, expected)
    assert [found.name for found in look_into(tmp_path).files] == [name]


def test_what_is_printed_in_four_colours_is_rgb_and_lossy(tmp_path):
    images = open_images(set_of(tmp_path, "print.jpg", CMYK))
    ((seen,),) = images.batches(1)
    assert images.lossy and np.array_equal(seen, crop_of(CMYK, "print.jpg", SIDE))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as at the module's import
@pytest.mark.parametrize("name", REFUSED)
def test_training_and_metrics_refuse_the_same(tmp_path, name):
    content, message = REFUSED[name]
    with pytest.raises(BadFile, match=rf"{name}' .*({message})") as training:
        crop_of(content, name, SIDE)
    with pytest.raises(BadFile, match=rf"{name}' .*({message})") as metrics:
        open_images(set_of(tmp_path, name, content))
    assert str(metrics.value).replace(f"{tmp_path}{os.sep}", "") == str(training.value)
    assert "\n" not in str(training.value)


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_is_cut_off_is_refused_by_both(tmp_path, name):
    with pytest.raises(BadFile, match=rf"{name}' is damaged \("):
        crop_of(CUT_OFF[name], name, SIDE)
    with pytest.raises(BadFile, match=rf"{name}' is damaged \("):
        next(open_images(set_of(tmp_path, name, CUT_OFF[name])).batches(1))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_no_width_of_a_bmp_makes_it_deep(mode):
    """Once the digits 16 in the bytes of a row did."""
    for width in (16, 160, 161, 203, 538, 1016):
        content = encoded(Image.new(mode, (width, 1)), "BMP")
        assert open_header(io.BytesIO(content), "a.bmp").size == (width, 1)


def test_pixels_are_counted_before_they_are_made(monkeypatch):
    """Warnings are errors here, so Pillow's own marks are moved out of the way."""
    side = int(MOST_PIXELS**0.5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert open_header(io.BytesIO(png(side, side, 8, 2, b"")), "a.png").size == (side, side)
    with pytest.raises(
        BadFile, match=rf"'a\.png' has {side + 1:,} x {side + 1:,} pixels; an image may have 89,478,485"
    ):
        open_header(io.BytesIO(png(side + 1, side + 1, 8, 2, b"")), "a.png")


def test_whatever_breaks_a_reader_is_that_image_s_fault(monkeypatch):
    def load(self):
        raise TypeError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(BadFile, match=r"^'a\.png' is damaged \(TypeError\)\.$"), decoded(encoded(IMAGE), "a.png"):
        pass


def test_colour_is_known_by_the_mode():
    assert [channels_of(Image.new(mode, (1, 1))) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK")] == [
        1,
        1,
        1,
        3,
        3,
        3,
    ]


def test_so_many_pixels_are_in_work_whatever_the_cores():
    """A hundred links to one large image on a hundred cores would take as many times its memory."""
    room, at_once, lock = _Room(100), [0, 0], threading.Lock()

    def work(pixels):
        with room.taken(pixels):
            with lock:
                at_once[0] += pixels
                at_once[1] = max(at_once)
            time.sleep(0.001)
            with lock:
                at_once[0] -= pixels

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, [100, 40, 40, 30, 1] * 20))
    assert at_once[0] == 0 and 40 < at_once[1] <= 100
    assert Image.core.get_block_size() > 2**25  # or else what was freed would stay with each thread
    with pytest.raises(ZeroDivisionError), room.taken(100):
        raise ZeroDivisionError
    with room.taken(100):  # which a fault has left free
        pass


def test_both_readers_make_room_for_what_they_decode_and_for_what_it_grows_to(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(_Room, "taken", lambda room, pixels: nullcontext(taken.append(pixels)))
    crop_of(encoded(IMAGE), "a.png", SIDE // 2)
    crop_of(encoded(IMAGE.resize((SIDE, 2 * SIDE))), "a.png", 10 * SIDE)
    list(open_images(set_of(tmp_path, "a.png", encoded(IMAGE))).batches(1))
    assert taken == [SIDE**2, 200 * SIDE**2, SIDE**2]
    with pytest.raises(BadFile, match=r"'a\.png' would grow to 16,384 x 32,768 pixels; 268,435,456 are the most"):
        crop_of(encoded(Image.new("L", (1, 2))), "a.png", 16_384)


def test_an_endless_file_is_no_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(IMAGE))
    os.truncate(path, 2**40)  # it takes no room on the disk
    with pytest.raises(BadFile, match=r"a\.png' has more than the 1,000 bytes that are read of an image"):
        read_image(path, 1000)
    assert read_image.__defaults__ == (MOST_BYTES,) and MOST_BYTES > 4 * MOST_PIXELS
