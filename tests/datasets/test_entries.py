"""Folders of images: what training and metrics both find in them, leave out and refuse."""

import os
import socket

import pytest
from photos import crops, write_folder

from ditbench.datasets.entries import look_into, read_image, told, trace_of
from ditbench.datasets.folder import list_folder
from ditbench.datasets.image_sets import open_images
from ditbench.errors import BadFile

IMAGES = crops(6, 8, seed=0)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set", IMAGES)


def hidden(folder):
    write_folder(folder / ".ipynb_checkpoints", IMAGES[:3])
    (folder / "._00000.png").write_bytes(b"what macOS leaves on other disks")
    (folder / ".DS_Store").write_bytes(b"\0")
    os.mkfifo(folder / ".pipe.png")
    (folder / os.fsdecode(b".\xff.png")).write_bytes(b"")


def strangers(folder):
    for name in ("notes.txt", "args.json", "Thumbs.db", os.fsdecode(b"\xff.txt")):
        (folder / name).write_text("no image")


def links(folder):
    """Links to a file and to a pipe that counts for nothing."""
    os.mkfifo(folder / "queue")
    (folder / "queue-too").symlink_to("queue")
    (folder / "00005.png").rename(folder.parent / "moved.png")
    (folder / "00005.png").symlink_to("../moved.png")


def odd_names(folder):
    (folder / "00005.png").rename(folder / "5 \n five's \u00e9.PNG")


@pytest.mark.parametrize(("change", "left_out"), [(hidden, 0), (strangers, 4), (links, 2), (odd_names, 0)])
def test_training_and_metrics_find_the_same_images(folder, change, left_out, caplog):
    before, listed = open_images(folder), list_folder(folder)
    content = before.hash()
    change(folder)
    after, again = open_images(folder), list_folder(folder)
    assert (after.count, len(again)) == (before.count, len(listed)) == (6, 6)
    assert after.hash() == content
    assert change is odd_names or again.listing == listed.listing
    assert len(again.left_out) == left_out
    assert [told(again.left_out)] * bool(left_out) == caplog.messages


def pipe(path):
    os.mkfifo(path)


def linked_pipe(path):
    os.mkfifo(path.parent / "queue")
    path.symlink_to("queue")


def plug(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))


def device(path):
    path.symlink_to("/dev/zero")


def broken(path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (pipe, "00007.png", r"00007\.png' is no file, but a pipe, a device or the like; move it away"),
        (linked_pipe, "00007.png", r"00007\.png' is no file"),
        (plug, "00007.png", r"00007\.png' is no file"),
        (device, "00007.png", r"00007\.png' is no file"),
        (broken, "00007.png", r"00007\.png' can't be read \(No such file"),
        (lambda path: path.symlink_to(path.name), "loop", r"loop' can't be read \(Too many levels"),
        (
            lambda path: path.write_bytes(b""),
            os.fsdecode(b"\xff.png"),
            "udcff.*has a name that is not UTF-8; rename it",
        ),
        (os.mkdir, os.fsdecode(b"\xff"), "udcff.*has a name that is not UTF-8; rename it"),
    ],
)
def test_training_and_metrics_refuse_the_same_entries(folder, monkeypatch, make, name, message):
    monkeypatch.chdir(folder.parent)  # a socket's path is short
    make(folder / name)
    for read in (open_images, list_folder):
        with pytest.raises(BadFile, match=message) as refused:
            read(folder)
        str(refused.value).encode()


def test_the_way_to_a_folder_has_a_name_too(tmp_path):
    folder = write_folder(tmp_path / os.fsdecode(b"\xff"), IMAGES)
    for read in (open_images, list_folder):
        with pytest.raises(BadFile, match="not UTF-8"):
            read(folder)


def test_links_to_folders_count_as_folders(tmp_path):
    write_folder(tmp_path / "elsewhere", IMAGES[:3])
    write_folder(tmp_path / "set" / "a", IMAGES[3:])
    (tmp_path / "set" / "b").symlink_to("../elsewhere")
    raw = list_folder(tmp_path / "set")
    assert raw.class_names == ("a", "b") and raw.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert open_images(tmp_path / "set").count == 6


def test_a_link_that_leads_back_is_refused(tmp_path):
    write_folder(tmp_path / "set" / "a", IMAGES[3:])
    (tmp_path / "set" / "a" / "up").symlink_to("..")
    with pytest.raises(BadFile, match=r"up' is the folder '.*' once more; remove the link"):
        open_images(tmp_path / "set")
    with pytest.raises(BadFile, match=r"up' is a folder among images"):
        list_folder(tmp_path / "set")


def test_an_image_that_vanished_is_named(folder):
    images, listed = open_images(folder), list_folder(folder)
    (folder / "00003.png").unlink()
    for read in (images.hash, lambda: list(images.batches(6)), lambda: listed.read(3)):
        with pytest.raises(BadFile, match=r"00003\.png' can't be read \(No such file"):
            read()


def test_an_image_that_became_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BadFile, match=r"can't be read \(it is a pipe, no file"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("way", ["in place", "names", "link"])
def test_the_trace_sees_what_keeps_size_and_time(tmp_path, way):
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    for path in (one, other):
        path.write_bytes(path.name.encode())
        os.utime(path, (1, 1))
    (tmp_path / "link.png").symlink_to(one)
    before = look_into(tmp_path)
    if way == "in place":
        one.write_bytes(b"3.png")
        os.utime(one, (1, 1))
    elif way == "names":
        one.rename(tmp_path / "x")
        other.rename(one)
        (tmp_path / "x").rename(other)
    else:
        (tmp_path / "link.png").unlink()
        (tmp_path / "link.png").symlink_to(other)
    after = look_into(tmp_path)
    assert [(name, trace[:2]) for name, trace in after.files] == [(name, trace[:2]) for name, trace in before.files]
    assert after != before and trace_of(tmp_path / "link.png") == dict(after.files)["link.png"]


def test_what_is_left_out_is_counted():
    assert told([]) == ""
    assert told(["a.txt"]).startswith("1 file is left out: it is no image by name (.png, ")
    assert told(["a.txt"] * 1200).startswith("1,200 files are left out: they are no image by name")
