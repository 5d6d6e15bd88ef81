"""The bundled digits, noise in any shape, and what is refused of a data set in memory."""

import numpy as np
import pytest

from ditbench.datasets.bundled import MOST_BYTES, MOST_ROWS, digits, load_digits, load_synthetic
from ditbench.datasets.examples import Request, from_arrays
from ditbench.errors import BadFile, BadValue


def test_digits_are_the_real_ones_and_a_seventh_is_held_out():
    pixels, labels = digits()
    assert pixels.shape == (1797, 1, 8, 8) and pixels.max() == 255
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    data = load_digits(Request(resolution=8))
    (held_out,) = data.held_out.batches(1000)
    assert np.array_equal(held_out, pixels[6::7]) and len(data.examples) + len(held_out) == 1797
    assert np.array_equal(data.examples.rows[np.arange(5, 8)], pixels[[5, 7, 8]])
    assert data.examples.labels[5:8].tolist() == labels[[5, 7, 8]].tolist()
    assert data.class_names == tuple("0123456789")
    with pytest.raises(BadValue, match="digits has images of 8 px, not 32"):
        load_digits(Request(resolution=32))


def test_the_hash_sees_pixels_labels_names_and_shape():
    pixels, labels = np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    changed = pixels.copy()
    changed[3, 0, 3, 3] = 1
    variants = [
        (pixels, labels, ("a", "b")),
        (changed, labels, ("a", "b")),
        (pixels, labels[::-1].copy(), ("a", "b")),
        (pixels, labels, ("a", "c")),
        (pixels.reshape(4, 4, 4, 4), labels, ("a", "b")),
    ]
    assert len({from_arrays("mine", *variant).sha256 for variant in variants}) == len(variants)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.zeros((4, 1, 8, 8), np.float32)}, "float32"),
        ({"pixels": np.zeros((4, 8, 8), np.uint8)}, "not uint8 NCHW"),
        ({"pixels": np.zeros((4, 1, 8, 7), np.uint8)}, "not square"),
        ({"labels": np.zeros(3, np.int64)}, "4 images but labels"),
        ({"labels": np.zeros(4, np.int64)}, "class 'b' has no image"),
        ({"labels": np.array([0, 1, 2, 1])}, "label 2 is out of range"),
        ({"labels": np.array([0, 1, -1, 1])}, "label -1 is out of range"),
    ],
)
def test_bad_data_is_refused(change, message):
    good = {"pixels": np.zeros((4, 1, 8, 8), np.uint8), "labels": np.array([0, 1, 0, 1])}
    with pytest.raises(BadFile, match=message):
        from_arrays(name="mine", class_names=("a", "b"), **{**good, **change})


def test_synthetic_pixels_are_noise_that_stays():
    request = Request(resolution=16, channels=3, classes=7, images=50)
    data = load_synthetic(request)
    rows = data.examples.rows[np.arange(50)]
    assert rows.shape == (50, 3, 16, 16) and rows.dtype == np.uint8
    assert abs(rows.mean() - 127.5) < 2 and rows.min() == 0 and rows.max() == 255
    assert data.examples.labels.tolist() == [label % 7 for label in range(50)] and len(data.class_names) == 7
    assert data.synthetic and data.images is None and data.held_out is None and data.space == "pixel"
    assert load_synthetic(request).sha256 == data.sha256


def test_large_synthetic_images_are_fewer():
    data = load_synthetic(Request(resolution=512, channels=3, classes=1000))
    assert 256 <= len(data.examples) == MOST_BYTES // (3 * 512 * 512)


def test_synthetic_latents_are_bounded_in_memory():
    data = load_synthetic(
        Request(resolution=64, space="latent", downsampling=8, channels=4, classes=0, images=1_281_167)
    )
    assert len(data.examples) == MOST_ROWS // 2 and data.examples.rows.shape == (MOST_ROWS, 2, 4, 8, 8)
    assert data.examples.rows.dtype == np.float16 and data.space == "latent" and data.examples.views == 2
    assert data.class_names == () and not data.examples.labels.any()
    moments = data.examples.rows[np.arange(MOST_ROWS)].astype(np.float32)
    assert abs(moments[:, 0].std() - 1) < 0.01 and (moments[:, 1] > 0).all()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(resolution=8, classes=3), "needs to know channels and classes"),
        (Request(resolution=8, channels=3), "needs to know channels and classes"),
        (Request(resolution=60, space="latent", downsampling=8, channels=4, classes=3), "60 px can't be divided"),
    ],
)
def test_synthetic_data_needs_a_shape(request_, message):
    with pytest.raises(BadValue, match=message):
        load_synthetic(request_)
