"""CIFAR-10's two versions hold the same images; nothing is unpickled whose checksum is another."""

import hashlib
import os
import pickle

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from ditbench.datasets import cifar
from ditbench.datasets.cifar import load_cifar10
from ditbench.datasets.examples import Request
from ditbench.errors import BadFile, BadValue

DRAW = np.random.default_rng(0)
BATCHES = {name: DRAW.integers(0, 256, (20, 3072), np.uint8) for name in [*(str(n) for n in range(1, 6)), "test"]}
LABELS = np.arange(20, dtype=np.uint8) % 10


def stem(name):
    return "test_batch" if name == "test" else f"data_batch_{name}"


@pytest.fixture
def binary(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, pixels in BATCHES.items():
        (folder / f"{stem(name)}.bin").write_bytes(np.column_stack([LABELS, pixels]).tobytes())
    return folder


@pytest.fixture
def python(tmp_path, monkeypatch):
    """The Python version, with the checksums that torchvision asks for set to these files'."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    sums = {}
    contents = {stem(name): {"data": pixels, "labels": LABELS.tolist()} for name, pixels in BATCHES.items()}
    for name, content in {**contents, "batches.meta": {"label_names": list(cifar.CLASSES)}}.items():
        packed = pickle.dumps(content)
        (folder / name).write_bytes(packed)
        sums[name] = hashlib.md5(packed).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[stem(str(n)), sums[stem(str(n))]] for n in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    return folder


def load(place="", **options):
    return load_cifar10(Request(resolution=32, place=str(place), **options))


def test_planes_and_labels_are_told_apart(binary):
    data = load(binary)
    rows = data.examples.rows[np.arange(100)]
    assert rows.shape == (100, 3, 32, 32) and np.array_equal(rows[20].ravel(), BATCHES["2"][0])
    assert data.examples.labels.tolist() == LABELS.tolist() * 5 and data.class_names[0] == "airplane"
    assert np.array_equal(next(data.held_out.batches(20)).reshape(20, -1), BATCHES["test"])
    with pytest.raises(BadValue, match="32 px, not 64"):
        load_cifar10(Request(resolution=64, place=str(binary)))


def test_both_versions_are_the_same_data(binary, python):
    one, other = load(binary), load(python)
    assert one.sha256 == other.sha256 and one.held_out.hash() == other.held_out.hash()


def test_it_is_found_below_a_folder_and_in_its_usual_places(binary, tmp_path, monkeypatch):
    assert load(tmp_path).sha256 == load(binary).sha256
    monkeypatch.setenv("DITBENCH_DATA", str(tmp_path))
    assert load().sha256 == load(binary).sha256
    monkeypatch.chdir(binary)
    assert load(".").sha256 == load(binary).sha256


def test_a_pickle_with_another_checksum_stays_shut(python, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (python / "data_batch_3").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadFile, match=r"data_batch_3' is missing or damaged \(its checksum\)"):
        load(python)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"data_batch_4\.bin' is cut off: 0 bytes"),
        (bytes(3073 * 20 - 1), r"data_batch_4\.bin' is cut off: 61459 bytes are no multiple of 3073"),
        (b"\x0a" + bytes(3072), r"data_batch_4\.bin': label 10 is out of range"),
        (None, r"data_batch_4\.bin' can't be read: No such file"),
    ],
)
def test_a_damaged_file_is_named(binary, content, message):
    path = binary / "data_batch_4.bin"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadFile, match=message):
        load(binary)


def test_nothing_is_fetched_offline_or_into_a_folder_of_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "download", lambda self: pytest.fail("went to the network"))
    with pytest.raises(BadFile, match=r"CIFAR-10 is not in .*`data` DIR .*or fetch it without `offline`\."):
        load(offline=True)
    with pytest.raises(BadFile, match=r"CIFAR-10 is not in .*`data` DIR"):
        load(tmp_path)


def test_a_download_goes_to_the_cache_and_its_failure_is_one_line(tmp_path, monkeypatch, python):
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path / "cache"))

    def fail(dataset):
        raise OSError("no route\nto host")

    monkeypatch.setattr(CIFAR10, "download", fail)
    with pytest.raises(BadFile, match=r"can't be fetched \(no route to host\)\. Say with `data`"):
        load()
    monkeypatch.setattr(CIFAR10, "download", lambda dataset: python.rename(f"{dataset.root}/{python.name}"))
    assert len(load().examples) == 100
    monkeypatch.setattr(CIFAR10, "download", fail)
    assert len(load().examples) == 100  # it is there now
