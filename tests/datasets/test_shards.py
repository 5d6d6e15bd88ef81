import os
import shutil

import numpy as np
import pytest
from pictures import write_autoencoder, write_pictures
from safetensors.numpy import load_file, save_file

from ditbench.datasets.autoencoder import load_autoencoder
from ditbench.datasets.folder import list_folder
from ditbench.datasets.prepare import prepare
from ditbench.datasets.shards import MANIFEST, ShardedRows, open_prepared
from ditbench.errors import BadFile
from ditbench.storage.files import sha256_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """15 pictures, four in a shard."""
    home = tmp_path_factory.mktemp("shards")
    autoencoder = load_autoencoder(str(write_autoencoder(home / "vae")))
    prepare(list_folder(write_pictures(home / "pictures", 5)), home / "made", 16, autoencoder, shard_size=4)
    return home / "made"


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "made")


def shards(folder):
    return sorted(folder.glob("shard-*"))


def flip_a_bit(path):
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def test_rows_are_those_of_the_files_in_any_order(folder):
    prepared = open_prepared(folder)
    stored = np.concatenate([load_file(path)["rows"] for path in shards(folder)])
    assert prepared.rows.shape == stored.shape == (30, 2, 4, 4, 4)
    assert prepared.rows.dtype == stored.dtype == np.float16
    rows = np.random.default_rng(0).integers(0, 30, 100)
    np.testing.assert_array_equal(prepared.rows[rows], stored[rows])
    assert prepared.rows[rows[:0]].shape == (0, 2, 4, 4, 4)


@pytest.mark.parametrize("row", [-1, 30])
def test_rows_beyond_the_ends_are_an_error(row, folder):
    with pytest.raises(IndexError):
        open_prepared(folder).rows[np.array([0, row])]


def test_an_empty_shard_has_no_rows():
    parts = [np.arange(2), np.arange(0), np.arange(10, 13)]
    np.testing.assert_array_equal(ShardedRows(parts)[np.array([4, 2, 1])], [12, 10, 1])


def test_what_was_read_can_be_changed_without_harm(folder):
    rows = open_prepared(folder).rows
    before = rows[np.array([0])]
    rows[np.array([0])][:] = 0
    np.testing.assert_array_equal(rows[np.array([0])], before)


def cut_off(path):
    os.truncate(path, path.stat().st_size - 1)


def of_other_shape(path):
    content = load_file(path)
    save_file(content | {"rows": content["rows"][:-1]}, path)


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (flip_a_bit, "damaged"),
        (cut_off, "can't be read"),
        (of_other_shape, "not what manifest.json says"),
        (os.remove, "can't be read"),
        (lambda path: path.write_bytes(b""), "can't be read"),
    ],
)
def test_a_bad_shard_is_named_with_the_way_out(harm, fault, folder):
    open_prepared(folder)
    harm(shards(folder)[2])
    with pytest.raises(BadFile, match=fault) as error:
        open_prepared(folder)
    assert "shard-00002" in str(error.value) and "ditbench data prepare" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checksum_is_computed_once_for_a_file_that_stays_as_it_is(folder, monkeypatch):
    hashed = []
    monkeypatch.setattr("ditbench.datasets.shards.sha256_of", lambda path: hashed.append(path.name) or sha256_of(path))
    open_prepared(folder)
    assert sorted(hashed) == [path.name for path in shards(folder)]
    open_prepared(folder)
    assert len(hashed) == 4
    os.utime(shards(folder)[1])
    open_prepared(folder)
    assert hashed[4:] == ["shard-00001.safetensors"]
    open_prepared(folder, remember=False)
    assert len(hashed) == 9


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"count": 15', '"count": 14', "add up"),
        ('"schema_version": 1', '"schema_version": 2', "schema_version"),
        ('"fish",', "", "out of range"),
        ('"resolution": 16', '"resolution": 32', "not what manifest.json says"),
    ],
)
def test_a_manifest_that_lies_is_found_out(old, new, fault, folder):
    path = folder / MANIFEST
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BadFile, match=fault):
        open_prepared(folder)


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(BadFile, match="no prepared data"):
        open_prepared(tmp_path)


def test_the_content_has_a_hash(folder, made):
    sha256 = open_prepared(made).manifest.sha256
    assert open_prepared(folder).manifest.sha256 == sha256
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"fish"', '"whale"'))
    assert open_prepared(folder).manifest.sha256 != sha256
