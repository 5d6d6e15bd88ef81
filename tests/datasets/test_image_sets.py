"""Images on disk come as they are, streamed, and what is wrong with them is said with the file's name."""

import numpy as np
import pytest
from photos import crops, write_folder
from PIL import Image

from ditbench.datasets import image_sets
from ditbench.datasets.crop import cropped
from ditbench.datasets.decoding import MOST_PIXELS
from ditbench.datasets.folder import list_folder
from ditbench.datasets.image_sets import in_memory, of_bounded_size, open_images
from ditbench.errors import BadFile

IMAGES = crops(25, 16, seed=0)


def joined(images, size):
    return np.concatenate(list(images.batches(size)))


def test_a_folder_an_npz_and_memory_hold_the_same(tmp_path):
    folder = write_folder(tmp_path / "set", IMAGES)
    np.savez(tmp_path / "stored.npz", IMAGES, np.arange(25))
    np.savez_compressed(tmp_path / "packed.npz", IMAGES)
    pixels = IMAGES.transpose(0, 3, 1, 2)
    sets = [open_images(path) for path in (folder, tmp_path / "stored.npz", tmp_path / "packed.npz")]
    for images in [*sets, in_memory("set", pixels, "")]:
        assert (images.count, images.shape, images.lossy) == (25, (3, 16, 16), "")
        for size in (1, 7, 100):
            assert np.array_equal(joined(images, size), pixels)
    assert len({images.hash() for images in sets}) == 3


def test_the_hash_is_of_the_content_alone(tmp_path):
    one, other = open_images(write_folder(tmp_path / "a", IMAGES)), open_images(write_folder(tmp_path / "b", IMAGES))
    assert one.hash() == other.hash()
    changed = open_images(write_folder(tmp_path / "c", IMAGES[::-1]))
    assert changed.hash() != one.hash()


def test_grey_images_have_one_channel(tmp_path):
    grey = write_folder(tmp_path / "grey", IMAGES[..., 0])
    assert open_images(grey).shape == (1, 16, 16)
    assert np.array_equal(joined(open_images(grey), 10), IMAGES[..., :1].transpose(0, 3, 1, 2))


def test_compression_with_loss_is_noticed(tmp_path):
    folder = write_folder(tmp_path / "mixed", IMAGES)
    Image.fromarray(IMAGES[0]).save(folder / "00007.png", format="JPEG")  # whatever its name says
    assert open_images(folder).lossy.endswith("00007.png")


def put(image, mode=None, size=None, **options):
    def write(folder):
        picture = Image.fromarray(image)
        picture = picture.convert(mode) if mode else picture
        (picture.resize(size) if size else picture).save(folder / "00003.png", **options)

    return write


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put(IMAGES[0], size=(16, 8)), r"00003\.png' is 16x8 with 3 channels, but '.*00000\.png' is 16x16"),
        (put(IMAGES[0], mode="L"), r"00003\.png' is 16x16 with 1 channels, but"),
        (lambda folder: (folder / "00003.png").write_bytes(b"no image"), r"00003\.png' is no image\. Formats"),
        (lambda folder: (folder / "00003.png").write_bytes(b""), r"00003\.png' is no image\. It is empty"),
    ],
)
def test_a_bad_header_is_found_at_once(tmp_path, spoil, message):
    folder = write_folder(tmp_path / "set", IMAGES)
    spoil(folder)
    with pytest.raises(BadFile, match=message):
        open_images(folder)


def test_another_format_is_refused(tmp_path):
    folder = write_folder(tmp_path / "set", IMAGES)
    Image.fromarray(IMAGES[0]).save(folder / "more.webp", lossless=True)
    with pytest.raises(BadFile, match=r"more\.webp' is a WEBP; give PNG or BMP or PPM"):
        open_images(folder)


def test_what_is_converted_is_counted_and_said(tmp_path, caplog):
    folder = write_folder(tmp_path / "set", IMAGES)
    for name in ("00003.png", "00007.png"):
        Image.fromarray(IMAGES[0]).convert("RGBA").save(folder / name)
    open_images(folder)
    (said,) = caplog.messages
    assert said.startswith("2 images are not plain grey or RGB") and said.endswith("00003.png' (RGBA)")


def test_a_cut_off_file_is_named(tmp_path):
    folder = write_folder(tmp_path / "set", crops(25, 64, seed=0))
    content = (folder / "00003.png").read_bytes()
    (folder / "00003.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadFile, match=r"00003\.png' is damaged \(.*truncated"):
        joined(open_images(folder), 10)


def test_what_is_no_set_of_images_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"There is no folder and no file '.*nowhere'"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match=r"The folder '.*empty' holds no images"):
        open_images(tmp_path / "empty")
    (tmp_path / "one.txt").write_text("hello")
    with pytest.raises(BadFile, match=r"one\.txt' is no set of images"):
        open_images(tmp_path / "one.txt")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, r"holds 'mu' \(float64 \(3,\)\), and no arr_0"),
        ({"arr_0": IMAGES.astype(np.float32)}, r"arr_0 is float32 \(25, 16, 16, 3\), not uint8"),
        ({"arr_0": IMAGES[0]}, r"arr_0 is uint8 \(16, 16, 3\), not uint8 \(N, H, W, C\)"),
        ({"arr_0": IMAGES[..., :2]}, "arr_0 has 2 channels"),
        ({"arr_0": np.asfortranarray(IMAGES)}, r"arr_0 is in Fortran's order; save np\.ascontiguousarray"),
        ({"arr_0": IMAGES[:, :0]}, "arr_0 has images of 16x0 pixels"),
        ({"arr_0": np.array([{}], dtype=object)}, r"arr_0 is object \(1,\): Python objects, which are not read"),
    ],
)
def test_a_bad_npz_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(BadFile, match=message):
        open_images(tmp_path / "bad.npz")


def test_a_damaged_npz_is_refused(tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, IMAGES)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match=r"cut\.npz' is no whole \.npz"):
        open_images(path)
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(BadFile, match=r"cut\.npz' .* \(Bad CRC"):
        joined(open_images(path), 10)
    np.savez_compressed(path, IMAGES)
    packed = path.read_bytes()
    for place in range(200, len(packed) - 400, len(packed) // 40):
        path.write_bytes(packed[:place] + bytes([packed[place] ^ 255]) + packed[place + 1 :])
        with pytest.raises(BadFile, match=r"cut\.npz' is damaged|cut\.npz' holds|cut\.npz': arr_0 is"):
            joined(open_images(path), 10)


def test_batches_of_large_images_are_small():
    """A hundred of the largest, three times at once, would take 80 GB."""
    side = int(MOST_PIXELS**0.5)
    assert [of_bounded_size(100, side, side) for side in (8, 299, 1024, 2048, side)] == [100, 100, 100, 32, 1]
    assert of_bounded_size(1, 8, 8) == 1


@pytest.mark.parametrize("kind", ["folder", "npz", "crops"])
def test_every_set_of_images_has_such_batches(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(image_sets, "_PIXELS", 3 * 24 * 24)
    pixels = crops(7, 24, seed=0)
    if kind == "npz":
        np.savez(tmp_path / "a.npz", pixels)
    else:
        write_folder(tmp_path / "a", pixels)
    images = {
        "folder": lambda: open_images(tmp_path / "a"),
        "npz": lambda: open_images(tmp_path / "a.npz"),
        "crops": lambda: cropped(list_folder(tmp_path / "a"), 24),
    }[kind]()
    assert [len(batch) for batch in images.batches(5)] == [3, 3, 1]
    assert np.array_equal(np.concatenate(list(images.batches(5))), pixels.transpose(0, 3, 1, 2))
