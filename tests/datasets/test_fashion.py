"""Fashion-MNIST's files as they are: found where they lie, and refused by name if they are damaged."""

import gzip
import os

import numpy as np
import pytest

from ditbench.datasets import fashion
from ditbench.datasets.examples import Request
from ditbench.datasets.fashion import load_fashion_mnist
from ditbench.errors import BadFile, BadValue

NAMES = {
    "images": "train-images-idx3-ubyte",
    "labels": "train-labels-idx1-ubyte",
    "held-out": "t10k-images-idx3-ubyte",
    "held-out labels": "t10k-labels-idx1-ubyte",
}
DRAW = np.random.default_rng(0)
PIXELS, HELD_OUT = (DRAW.integers(0, 256, (count, 28, 28), np.uint8) for count in (30, 20))
LABELS = np.arange(30, dtype=np.uint8) % 10


def idx(array):
    """The bytes of an idx file."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write(folder, packed=False, **changed):
    """The four files; `changed` gives some of them other bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"images": PIXELS, "labels": LABELS, "held-out": HELD_OUT, "held-out labels": LABELS[:20]}
    for kind, name in NAMES.items():
        content = changed.get(kind, idx(arrays[kind]))
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def load(folder, resolution=32):
    return load_fashion_mnist(Request(resolution=resolution, place=str(folder)))


@pytest.mark.parametrize("packed", [False, True])
def test_images_get_a_border_and_keep_their_order(tmp_path, packed):
    data = load(write(tmp_path, packed))
    rows = data.examples.rows[np.arange(30)]
    assert rows.shape == (30, 1, 32, 32) and np.array_equal(rows[:, 0, 2:-2, 2:-2], PIXELS)
    assert rows.astype(int).sum() == PIXELS.astype(int).sum()  # the border is black
    assert data.examples.labels.tolist() == LABELS.tolist() and data.class_names[9] == "ankle boot"
    assert np.array_equal(next(data.held_out.batches(20))[:, 0, 2:-2, 2:-2], HELD_OUT)
    plain = load(tmp_path, 28)
    assert np.array_equal(plain.examples.rows[np.arange(30)][:, 0], PIXELS) and plain.sha256 != data.sha256
    with pytest.raises(BadValue, match="28 px or, with a border, 32, not 64"):
        load(tmp_path, 64)


def test_it_is_found_where_it_usually_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("DITBENCH_DATA", str(tmp_path / "data"))
    with pytest.raises(
        BadFile, match=r"is not in .*data/fashion-mnist or .*debian.*apt install .* `data` DIR"
    ) as error:
        load_fashion_mnist(Request(resolution=32))
    assert "\n" not in str(error.value)
    hashes = set()
    for place in ("debian", "data/FashionMNIST/raw", "data/fashion-mnist"):  # the later ones come first
        labels = np.roll(LABELS, len(hashes))
        write(tmp_path / place, labels=idx(labels))
        data = load_fashion_mnist(Request(resolution=32))
        assert data.examples.labels.tolist() == labels.tolist()
        hashes.add(data.sha256)
    assert load(tmp_path / "data").sha256 in hashes  # torchvision's layout below the given place
    with pytest.raises(BadFile, match=r"is not in .*nowhere"):
        load(tmp_path / "nowhere")


def spoilt(array, place, value):
    changed = array.copy()
    changed[place] = value
    return idx(changed)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("images", idx(PIXELS)[:-1], "is cut off or too long: 23519 bytes"),
        ("images", idx(PIXELS) + b"\0", "is cut off or too long"),
        ("images", idx(PIXELS)[:9], "is no idx file of bytes with 3 axes"),
        ("images", b"", "is no idx file of bytes with 3 axes"),
        ("images", idx(LABELS), "is no idx file of bytes with 3 axes"),
        ("images", idx(PIXELS[:, :14]), r"holds an array of \(30, 14, 28\)"),
        ("images", idx(PIXELS[:0]), r"holds an array of \(0, 28, 28\)"),
        ("labels", idx(LABELS[:29]), "has 29 labels for 30 images"),
        ("labels", spoilt(LABELS, 3, 10), "label 10 is out of range"),
        ("labels", idx(LABELS % 9), "class 'ankle boot' has no image"),
        ("labels", idx(PIXELS), "is no idx file of bytes with 1 axes"),
        ("held-out", idx(HELD_OUT)[:-5], "is cut off or too long"),
        ("held-out labels", spoilt(LABELS[:20], 3, 255), "label 255 is out of range"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, kind, content, message):
    with pytest.raises(BadFile, match=f"{NAMES[kind]}'.*{message}"):
        load(write(tmp_path, **{kind: content}))


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-40], lambda packed: b"no gzip", lambda packed: b""])
def test_a_damaged_archive_is_named(tmp_path, spoil):
    path = write(tmp_path, packed=True) / f"{NAMES['images']}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BadFile, match=rf"{NAMES['images']}\.gz' is (damaged|no idx)"):
        load(tmp_path)


def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path):
    path = write(tmp_path, packed=True) / f"{NAMES['held-out']}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadFile, match=rf"{NAMES['held-out']}\.gz' is damaged"):
        load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    (write(tmp_path) / NAMES["held-out labels"]).unlink()
    with pytest.raises(BadFile, match=rf"lacks {NAMES['held-out labels']}\[\.gz\]"):
        load(tmp_path)


def test_no_place_is_too_odd(tmp_path):
    os.mkfifo(tmp_path / NAMES["images"])
    for place in (tmp_path, tmp_path / ("n" * 5000), tmp_path / "a\0b"):
        with pytest.raises(BadFile):
            load_fashion_mnist(Request(resolution=28, place=str(place)))
