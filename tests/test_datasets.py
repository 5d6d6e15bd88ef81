"""The bundled digits and their hash; bad data is refused."""

import dataclasses

import numpy as np
import pytest

from ditbench.datasets import Images, load_digits
from ditbench.errors import BadFile


def test_digits_are_the_real_ones():
    digits = load_digits()
    assert digits.pixels.shape == (1797, 1, 8, 8) and digits.pixels.max() == 255
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.sha256 == "2d1a80a5fc378b908318dfad34b785a392602b7aae9eae9310e8784c57030bb0"


def test_the_hash_sees_pixels_labels_and_shape():
    digits = load_digits()
    pixels, labels = digits.pixels.copy(), digits.labels.copy()
    pixels[5, 0, 3, 3] ^= 1
    labels[[0, 1]] = labels[[1, 0]]
    hashes = {digits.sha256}
    hashes |= {dataclasses.replace(digits, pixels=pixels).sha256, dataclasses.replace(digits, labels=labels).sha256}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.zeros((4, 1, 8, 8), np.float32)}, "float32"),
        ({"pixels": np.zeros((4, 8, 8), np.uint8)}, "not uint8 NCHW"),
        ({"pixels": np.zeros((4, 1, 8, 7), np.uint8)}, "not square"),
        ({"labels": np.zeros(3, np.int64)}, "4 images but labels"),
        ({"labels": np.zeros(4, np.int64)}, "do not cover"),
        ({"labels": np.array([0, 1, 2, 1])}, "do not cover"),
    ],
)
def test_bad_data_is_refused(change, message):
    good = {"pixels": np.zeros((4, 1, 8, 8), np.uint8), "labels": np.array([0, 1, 0, 1])}
    with pytest.raises(BadFile, match=message):
        Images(name="mine", class_names=("a", "b"), **{**good, **change})
