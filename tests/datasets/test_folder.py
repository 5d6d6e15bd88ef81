"""Folders of images: classes, splits, and everything that would be left out silently."""

import os

import numpy as np
import pytest

from ditbench.datasets.folder import list_folder
from ditbench.datasets.raw import UNKNOWN
from ditbench.errors import BadFile


def fill(root, *files):
    """Files with their own path as content; nothing of it is decoded here."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(os.fsencode(file))
    return root


def titles(raw):
    return [raw.title(number) for number in range(len(raw))]


def test_folders_are_classes(tmp_path):
    raw = list_folder(fill(tmp_path / "pets", "dog/b.JPEG", "dog/a.png", "cat/z.webp", ".hidden/x", "dog/.DS_Store"))
    assert raw.class_names == ("cat", "dog") and raw.labels.tolist() == [0, 1, 1] and raw.labels.dtype == np.int64
    assert [raw.read(number) for number in range(3)] == [b"cat/z.webp", b"dog/a.png", b"dog/b.JPEG"]
    assert titles(raw) == [str(tmp_path / "pets" / name) for name in ("cat/z.webp", "dog/a.png", "dog/b.JPEG")]
    assert (raw.name, raw.place, raw.split, raw.held_out) == ("pets", str(tmp_path / "pets"), "train", None)


def test_a_flat_folder_has_no_classes(tmp_path):
    raw = list_folder(fill(tmp_path, "b.png", "a.jpg"))
    assert raw.class_names == () and raw.labels.tolist() == [0, 0] and raw.read(0) == b"a.jpg"


@pytest.mark.parametrize("aside", ["val", "valid", "validation", "dev", "test"])
def test_train_and_another_folder_are_splits(tmp_path, aside):
    fill(tmp_path, "train/a/1.png", "train/b/2.png", f"{aside}/a/3.png", f"{aside}/b/4.png", "synsets.txt")
    raw = list_folder(tmp_path)
    assert raw.class_names == raw.held_out.class_names == ("a", "b")
    assert raw.held_out.labels.tolist() == [0, 1] and raw.held_out.split == aside
    assert raw.held_out.read(1) == f"{aside}/b/4.png".encode() and len(raw) == 2


def test_val_is_preferred_to_test_and_train_may_be_alone(tmp_path):
    fill(tmp_path, "train/1.png")
    assert list_folder(tmp_path).held_out is None
    fill(tmp_path, "test/2.png")
    assert list_folder(tmp_path).held_out.split == "test"
    fill(tmp_path, "val/3.png")
    assert list_folder(tmp_path).held_out.split == "val" and list_folder(tmp_path).class_names == ()


def test_a_flat_held_out_folder_tells_no_classes(tmp_path):
    fill(tmp_path, "train/a/1.png", "train/b/2.png", "val/3.png", "val/4.png")
    held_out = list_folder(tmp_path).held_out
    assert held_out.labels.tolist() == [UNKNOWN, UNKNOWN] and held_out.class_names == ("a", "b")


def test_a_class_may_be_named_train(tmp_path):
    raw = list_folder(fill(tmp_path, "train/1.png", "car/2.png"))
    assert raw.class_names == ("car", "train") and raw.held_out is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/a/1.png", "val/b/1.png"], r"val' has not the classes of 'train': 'a' is in one of them only"),
        (["train/1.png", "val/b/1.png"], r"val' has not the classes of 'train': 'b' is in one of them only"),
        (["a/1.png", "2.png"], r"2\.png' is an image beside folders of images"),
        (["train/1.png", "val/1.png", "2.png"], r"2\.png' is an image beside folders of images"),
        (["a/1.png", "b/notes.txt"], r"The folder '.*b' holds no images"),
        (["a/1.png", "b/.keep"], r"The folder '.*b' holds no images"),
        ([".keep"], r"The folder '.*' holds no images"),
        (["train/1.png", "val/1.png", "extra/1.png"], r"extra' is neither 'train' nor a held-out split"),
        (["train/a/1.png", "extra/1.png"], r"train/a' is a folder among images"),
        (["a/1.png", "b/c/1.png"], r"b/c' is a folder among images"),
    ],
)
def test_what_would_be_left_out_is_named(tmp_path, files, message):
    with pytest.raises(BadFile, match=message):
        list_folder(fill(tmp_path, *files))


def test_what_can_not_be_read_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"The folder '.*nowhere' can't be read \(No such file"):
        list_folder(tmp_path / "nowhere")
    with pytest.raises(BadFile, match=r"The folder '.*file' can't be read \(Not a directory"):
        list_folder(fill(tmp_path, "file") / "file")
    raw = list_folder(fill(tmp_path / "set", "a/1.png", "a/2.png"))
    (tmp_path / "set/a/1.png").unlink()
    with pytest.raises(BadFile, match=r"a/1\.png' can't be read \(No such file"):
        raw.read(0)
    (tmp_path / "set/a/1.png").symlink_to("nowhere")
    with pytest.raises(BadFile, match=r"a/1\.png' can't be read \(No such file"):
        list_folder(tmp_path / "set")


def test_what_no_file_system_bears_is_one_line(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for place in (tmp_path, tmp_path / "loop"):
        with pytest.raises(BadFile, match=r"loop' can't be read \(Too many levels"):
            list_folder(place)
    with pytest.raises(BadFile, match=r"can't be read \(File name too long"):
        list_folder(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_named(tmp_path):
    fill(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b").chmod(0)
    with pytest.raises(BadFile, match=r"The folder '.*b' can't be read \(Permission denied"):
        list_folder(tmp_path)
    (tmp_path / "b").chmod(0o700)


def test_files_that_are_no_images_by_name_are_left_out_and_told(tmp_path):
    files = ["notes.txt", "train/synsets.txt", "train/a/1.png", "train/a/1.txt", "val/a/2.png", "val/a/2.txt"]
    raw = list_folder(fill(tmp_path, *files))
    assert titles(raw) == [str(tmp_path / "train/a/1.png")]
    assert sorted(raw.left_out) == sorted(str(tmp_path / file) for file in files if file.endswith("txt"))


def test_the_stamp_sees_times(tmp_path):
    before = list_folder(fill(tmp_path, "a/1.png"))
    os.utime(tmp_path / "a/1.png", (1, 1))
    after = list_folder(tmp_path)
    assert after.listing == before.listing and after.stamp != before.stamp


def test_the_listing_sees_names_sizes_and_splits_and_not_the_place(tmp_path):
    files = ["a/1.png", "b/2.png"]
    one, other = (list_folder(fill(tmp_path / place, *files)) for place in ("x", "y"))
    assert one.listing == other.listing
    split = list_folder(fill(tmp_path / "w", *(f"{split}/{file}" for split in ("train", "val") for file in files)))
    longer = list_folder(fill(tmp_path / "y", "a/3.png"))
    (tmp_path / "x/a/1.png").write_text("more than before")
    listings = {one.listing, longer.listing, list_folder(tmp_path / "x").listing}
    assert len(listings | {split.listing, split.held_out.listing}) == 5
