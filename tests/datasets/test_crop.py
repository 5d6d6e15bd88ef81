"""The centre crop of ADM and DiT, and a listing streamed as crops."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photos import crops, encoded
from PIL import Image

from ditbench.datasets.crop import centre_crop, crop_of, cropped, hash_images
from ditbench.datasets.folder import list_folder
from ditbench.errors import BadFile

PHOTO = crops(1, 120, seed=0)[0]


def gradient(width, height):
    """An image whose red grows by 1 from column to column, and green from row to row."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns, rows, np.full_like(rows, 7)], axis=-1).astype(np.uint8))


def test_an_image_of_the_right_size_stays_as_it_is():
    assert np.array_equal(centre_crop(Image.fromarray(PHOTO), 120), PHOTO.transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height", "left", "top"), [(48, 20, 14, 0), (20, 48, 0, 14), (21, 20, 0, 0)])
def test_the_middle_is_cut_out(width, height, left, top):
    crop = centre_crop(gradient(width, height), 20)
    assert crop[0, 0].tolist() == list(range(left, left + 20))
    assert crop[1, :, 0].tolist() == list(range(top, top + 20))


@pytest.mark.parametrize("factor", [1.4, 2, 3, 4, 6.5, 0.5])
def test_a_gradient_stays_one(factor):
    """Halving by averages and bicubic steps both keep affine images, each pixel's centre where it was."""
    size = 30
    side = round(size * factor)
    crop = centre_crop(gradient(side, side), size).astype(float)
    expected = (np.arange(size) + 0.5) * factor - 0.5
    inner = slice(4, -4)  # at the edges, a bicubic step has nothing to look at
    near = max(1.0, 0.4 * factor)  # each step rounds, and an odd number of pixels can't be halved evenly
    assert np.abs(crop[0][:, inner] - expected[inner]).max() <= near
    assert np.abs(crop[1][inner].T - expected[inner]).max() <= near


def test_far_reduction_averages_and_does_not_alias():
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    crop = centre_crop(Image.fromarray(board.astype(np.uint8)), 32)
    assert crop.min() == crop.max() and 127 <= crop.min() <= 128


def test_landscape_and_portrait_are_treated_alike():
    photo = PHOTO[:90]
    wide, tall = Image.fromarray(photo), Image.fromarray(np.ascontiguousarray(photo.transpose(1, 0, 2)))
    for size in (24, 50, 100):
        difference = np.abs(centre_crop(wide, size).astype(int) - centre_crop(tall, size).transpose(0, 2, 1))
        assert difference.max() <= 4 and difference.mean() < 0.5  # columns come before rows, with rounding in between


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "YCbCr"])
def test_other_modes_become_rgb(mode):
    image = Image.fromarray(PHOTO).convert(mode)
    crop = centre_crop(image, 120)
    assert crop.shape == (3, 120, 120) and np.array_equal(crop, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def test_a_line_is_no_image():
    assert crop_of(encoded(Image.new("RGB", (64, 1))), "a.png", 1).shape == (3, 1, 1)
    with pytest.raises(BadFile, match=r"'a\.png' has 1 x 65 pixels, and sides of more than 64 to 1"):
        crop_of(encoded(Image.new("RGB", (1, 65))), "a.png", 1)


@pytest.fixture
def raw(tmp_path):
    """Five photographs of many shapes, among them JPEGs."""
    for number, (width, height) in enumerate([(60, 40), (40, 60), (80, 80), (33, 34), (200, 40)]):
        image = Image.fromarray(PHOTO).resize((width, height))
        image.save(tmp_path / f"{number}{'.jpg' if number % 2 else '.png'}")
    return list_folder(tmp_path)


def test_a_listing_comes_as_crops_in_its_order(raw, tmp_path):
    images = cropped(raw, 16)
    expected = [centre_crop(Image.open(path), 16) for path in sorted(tmp_path.iterdir())]
    assert (images.count, images.shape) == (5, (3, 16, 16))
    for size in (1, 2, 100):
        assert np.array_equal(np.concatenate(list(images.batches(size))), expected)
    assert images.name == tmp_path.name and cropped(replace(raw, split="val"), 16).name == f"{tmp_path.name} (val)"
    some = cropped(raw, 16, np.array([0, 3]))
    assert np.array_equal(next(some.batches(9)), [expected[0], expected[3]])


def test_the_hash_is_of_the_files_and_the_size(raw, tmp_path):
    everything = np.arange(5)
    parts = [hashlib.sha256(path.read_bytes()).digest() for path in sorted(tmp_path.iterdir())]
    assert hash_images(raw, everything) == hashlib.sha256(b"".join(parts)).hexdigest()
    assert cropped(raw, 16).hash() == cropped(raw, 16, None, hash_images(raw, everything)).hash()
    hashes = {cropped(raw, 16).hash(), cropped(raw, 8).hash(), cropped(raw, 16, everything[:4]).hash()}
    Image.fromarray(PHOTO).save(tmp_path / "2.png")
    assert len(hashes | {cropped(raw, 16).hash()}) == 4


def test_a_known_hash_reads_nothing(raw, tmp_path):
    images = cropped(raw, 16, None, "known")
    for path in Path(tmp_path).iterdir():
        path.unlink()
    assert len(images.hash()) == 64
    with pytest.raises(BadFile, match=r"0\.png' can't be read"):
        next(images.batches(2))
