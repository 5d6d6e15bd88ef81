"""Files are whole or absent, also after kill -9."""

import stat
import subprocess
import sys
import time

import pytest

from ditbench.errors import DitbenchError
from ditbench.storage.files import exists, is_folder, make_writable, sweep, whole_path, write_atomically, write_text


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
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


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
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_an_unwritable_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DitbenchError, match=r"can't be written .* Choose another with `out`"):
        make_writable(tmp_path / "file" / "below")
