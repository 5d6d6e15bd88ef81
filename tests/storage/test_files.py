"""Files are whole or absent, also after kill -9."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ditbench.errors import DitbenchError
from ditbench.storage.files import (
    as_the_umask_says,
    cache_folder,
    check_folder,
    check_target,
    exists,
    in_cache,
    is_folder,
    make_writable,
    sweep,
    whole_path,
    write_atomically,
    write_text,
)


def test_paths_that_lead_nowhere_are_no_errors(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert whole_path("~/loop") == tmp_path / "loop" and whole_path("~nobody-here/x").name == "x"
    for name in ("loop", "x" * 300):
        assert not exists(tmp_path / name) and not is_folder(tmp_path / name)
    assert is_folder(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_stray(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_link_where_a_temporary_file_is_made_leads_to_nothing_written(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / f".file.txt.{os.getpid()}.tmp").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "file.txt", "ours")
    assert (tmp_path / "file.txt").read_text() == "ours" and (tmp_path / "theirs").read_text() == "theirs"
    assert not (tmp_path / "file.txt").is_symlink()


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o002])
@pytest.mark.parametrize("chmod", ["allowed", "refused"])
def test_the_umask_decides_who_reads_a_file_however_it_was_written(tmp_path, monkeypatch, mask, chmod):
    """Safetensors makes its files private. Some file systems refuse chmod: that loses nothing either."""

    def refuse(path, mode):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def privately(path):
        path.unlink()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        with path.open("w") as file:
            file.write("weights")

    if chmod == "refused":
        monkeypatch.setattr(Path, "chmod", refuse)
    before = os.umask(mask)
    try:
        make_writable(tmp_path / "runs", claimed=True)
        write_text(tmp_path / "runs" / "record.json", "{}")
        write_atomically(tmp_path / "runs" / "weights", privately)
        (tmp_path / "autoencoder").mkdir()
        privately_made = tmp_path / "autoencoder" / "weights"
        privately_made.touch()
        privately(privately_made)
        as_the_umask_says(tmp_path / "autoencoder")
    finally:
        os.umask(before)
    for path in (tmp_path / "runs" / "record.json", tmp_path / "runs" / "weights", privately_made):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert (tmp_path / "runs" / "weights").read_text() == "weights"
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"record.json", "weights"}


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ("replace", "can't be written (replacing a file: Operation not supported). Choose another with `out`."),
        ("link", "(hard links, by which ditbench keeps two commands apart: Operation not supported). Choose"),
        ("fsync", "can't be written (Input/output error). Choose another with `out`."),
    ],
)
def test_what_a_file_system_cannot_do_is_said_beforehand(tmp_path, monkeypatch, operation, told):
    def fail(*arguments, **others):
        if operation != "replace" or Path(arguments[-1]).exists():
            number = errno.EIO if operation == "fsync" else errno.ENOTSUP
            raise OSError(number, os.strerror(number))
        original(*arguments, **others)

    original = getattr(os, operation)
    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(DitbenchError) as refused:
        make_writable(tmp_path / "runs", claimed=True)
    assert told in str(refused.value) and list((tmp_path / "runs").iterdir()) == []


def test_a_file_system_that_knows_no_flushing_is_taken_as_it_is(tmp_path, monkeypatch):
    def no_flushing(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", no_flushing)
    make_writable(tmp_path)
    write_text(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"


def test_a_user_without_a_home_has_a_cache_that_nobody_else_has(tmp_path, monkeypatch):
    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    for variable in ("DITBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "expanduser", nobody)
    folder = tmp_path / f"cache-of-{os.getuid()}"
    assert cache_folder() == folder / "ditbench" and not in_cache(tmp_path / "runs")
    folder.mkdir()
    assert cache_folder() == folder / "ditbench"
    user = os.getuid()
    folder.rename(tmp_path / f"cache-of-{user + 1}")
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(DitbenchError, match="somebody else's: set HOME or DITBENCH_CACHE"):
        cache_folder()
    monkeypatch.setenv("DITBENCH_CACHE", "~nobody-here/cache")
    with pytest.raises(DitbenchError, match="DITBENCH_CACHE is '~nobody-here/cache', and there is no such home"):
        cache_folder()


WRITER = """
import sys
from pathlib import Path
from ditbench.storage.files import write_text
n = 0
while True:
    write_text(Path(sys.argv[1]), str(n % 10) * 3_000_000)
    n += 1
"""


def test_kill_9_never_leaves_a_torn_file(tmp_path):
    path = tmp_path / "file.txt"
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        writer.kill()
        writer.wait()
        text = path.read_text()
        assert len(text) == 3_000_000 and len(set(text)) == 1
    (tmp_path / ".model.new.1.tmp" / "deep").mkdir(parents=True)  # an export's
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_an_unwritable_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DitbenchError, match=r"can't be written .* Choose another with `out`"):
        make_writable(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("folder", "there is a folder of that name"),
        ("/dev/null", "what has that name is no file, but a device, a pipe or a socket"),  # as root it would be gone
        ("nowhere/x.md", "there is no such folder"),
        ("file/x.md", "what it is in is no folder|Not a directory"),
        ("n" * 5000, "File name too long"),
        ("n" * 250, "File name too long"),  # with what it is called first
        ("a\0b", "it is no name"),
        ("loop/x", "Too many levels of symbolic links"),
    ],
)
def test_where_no_file_can_be_written_is_told_beforehand(tmp_path, name, fault):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    for write in (check_target, lambda path: write_text(path, "new")):
        with pytest.raises(DitbenchError, match=f"can't be written: ({fault}). Choose another name"):
            write(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    check_target(tmp_path / "new")


def test_what_can_be_no_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for name, fault in {"file": "it is no folder", "n" * 5000: "File name too long", "a\0b": "null byte"}.items():
        with pytest.raises(DitbenchError, match=fault):
            check_folder(tmp_path / name)
    check_folder(tmp_path / "nothing")
    check_folder(tmp_path)
    with pytest.raises(DitbenchError, match="can't be written"):
        make_writable(tmp_path / "a\0b")


def test_a_cache_that_is_a_file_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DITBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DitbenchError, match=r"DITBENCH_CACHE is '.*file', which is no folder: give another"):
        cache_folder()
