"""Signs that can't be written, full disks, readers that are gone, closed streams: no command ends by them."""

import io
import subprocess
import sys

import pytest

from ditbench.cli.console import make_console, make_table
from ditbench.cli.streams import forgiving, in_signs_of


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "^ v -> +- <= a Frechet ?"), ("latin-1", "^ v -> \xb1 <= a Fr\xe9chet ?"), ("utf-8", None)],
)
def test_signs_that_an_encoding_lacks_have_others_in_their_place(encoding, shown):
    text = "↑ ↓ → ± ≤ a Fréchet 中"
    assert in_signs_of(encoding, text) == (shown or text)


@pytest.fixture
def stream(monkeypatch):
    """A function that makes a file standard output, in an encoding."""

    files = []

    def stream(path, encoding="utf-8"):
        files.append(io.TextIOWrapper(io.FileIO(path, "w"), encoding))
        monkeypatch.setattr(sys, "stdout", files[-1])

    yield stream
    monkeypatch.undo()
    for file in files:
        file.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_tables_keep_their_columns_and_plain_words_are_written(stream, tmp_path, encoding):
    stream(tmp_path / "out", encoding)
    with forgiving() as faults:
        table = make_table("fid ↓", "seeds")
        table.add_row("1 ± 2", "3")
        make_console().print(table)
        print("tier 0 → 1")
    text = (tmp_path / "out").read_text(encoding)
    rows = [line for line in text.splitlines() if "|" in line]
    assert len({line.rindex("|") for line in rows}) == 1 and "fid v" in text and "tier 0 -> 1" in text and not faults


def test_a_full_disk_is_told_once_at_the_end_and_ends_nothing(stream):
    stream("/dev/full")
    with forgiving() as faults:
        for _ in range(3):
            print("x" * 10_000, flush=True)
    assert [fault.strerror for fault in faults] == ["No space left on device"]


@pytest.mark.parametrize(
    ("shell", "code", "errors"),
    [
        ("{} list metrics > /dev/full", 1, "ditbench: standard output can't be written (No space left on device); all"),
        ("{} list metrics | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        ("{} list metrics <&- >&- 2>&-", 0, ""),
        ("TERMINAL_WIDTH=wide PYTHONIOENCODING=ascii {} records --help >&2", 0, "+- Options -"),
    ],
    ids=["full", "nobody reads", "closed", "not encodable"],
)
def test_a_whole_command(shell, code, errors):
    command = shell.replace("{}", f"{sys.executable} -m ditbench")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code and errors in done.stderr and "Traceback" not in done.stderr, done.stderr
