"""Whatever lies where a file should be ends in one clear line, at once."""

import os
import pickle
import socket
from pathlib import Path

import pytest

from ditbench.errors import BadFile, DitbenchError, for_a_line
from ditbench.leaderboard.reported import read_reported
from ditbench.records.diff import read_either
from ditbench.records.profile import read_profile
from ditbench.records.record import read_record
from ditbench.records.verification import read_verification
from ditbench.storage.claims import CLAIMS, sole_writer
from ditbench.storage.files import sha256_of
from ditbench.storage.reading import Unreadable, read_bytes, read_json, read_text, read_toml
from ditbench.tracks.ledger import LEDGER_FILE, read_ledger
from ditbench.tracks.track import load_track

pytestmark = pytest.mark.timeout(20)  # a pipe that is waited for is a failure


def bind(path):
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # a socket's name has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


NO_FILES = {
    "folder": (Path.mkdir, "it is a folder, no file"),
    "pipe": (os.mkfifo, "it is a pipe, no file"),
    "socket": (bind, "it is a socket, no file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, no file"),
    "nothing": (lambda path: None, "No such file or directory"),
    "broken link": (lambda path: path.symlink_to("gone"), "it is a link that leads nowhere"),
    "circle of links": (lambda path: path.symlink_to(path.name), "its links lead in a circle"),
}
READERS = {
    "track": load_track,
    "published": read_reported,
    "record": read_record,
    "evaluation": read_either,
    "profile": read_profile,
    "verification": read_verification,
    "text": lambda path: read_text(path, "text"),
}


@pytest.mark.parametrize(("make", "reason"), NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_file_is_named(tmp_path, read, make, reason):
    make(tmp_path / "it")
    with pytest.raises(BadFile, match=f"it' can't be read: {reason}") as caught:
        read(tmp_path / "it")
    assert "\n" not in str(caught.value)


def test_names_that_no_file_can_have(tmp_path):
    for name, reason in {"n" * 5000: "File name too long", "a\0b": "its name has a NUL in it"}.items():
        with pytest.raises(Unreadable, match=reason):
            read_text(tmp_path / name, "text")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine").write_text("")
    monkeypatch.setattr(os, "open", refuse)  # these tests may be root's, to whom nothing is forbidden
    with pytest.raises(Unreadable, match="mine' can't be read: Permission denied"):
        read_text(tmp_path / "mine", "text")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\xffb", r"it is not UTF-8 \(byte 1\); save it as UTF-8"),
        ("a = 1".encode("utf-16"), "it is UTF-16, as its byte-order mark says; save it as UTF-8"),
        ("a = 1".encode("utf-32"), "it is UTF-32, as its byte-order mark says"),
    ],
)
@pytest.mark.parametrize("read", [read_toml, read_json, read_text])
def test_what_is_not_utf_8(tmp_path, read, content, reason):
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        read(tmp_path / "it", "file")


def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path):
    (tmp_path / "it").write_bytes(b'\xef\xbb\xbf[a]\r\nb = "c"\r\n')
    assert read_toml(tmp_path / "it", "file") == {"a": {"b": "c"}}
    (tmp_path / "it").write_bytes(b'\xef\xbb\xbf{"a":\r\n 1}')
    assert read_json(tmp_path / "it", "file") == {"a": 1}
    (tmp_path / "it").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r")
    assert read_text(tmp_path / "it", "file") == "one\ntwo\n"


TOO_DEEP = "it is nested more than 50 deep"


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (read_toml, "a = " + "[" * 20_000, TOO_DEEP),
        (read_toml, "a = " + "[" * 60 + "]" * 60, TOO_DEEP),
        (read_toml, "a = " + "{a = " * 9_000, TOO_DEEP),
        (read_toml, ".".join(["a"] * 200_000) + " = 1", "it has a key of more than 50 parts"),
        (read_toml, "[" + ' . "a"' * 100_000 + "]", "it has a key of more than 50 parts"),
        (read_toml, "a = " + "9" * 10_000, "it has a whole number of thousands of digits"),
        (read_toml, "a = 9223372036854775808", "it has a whole number beyond 64 bits"),
        (read_toml, "a = [{b = -9223372036854775809}]", "it has a whole number beyond 64 bits"),
        (read_toml, "a", "Expected '='"),
        (read_toml, "a = '" + "x" * 2**20 + "'", "it is larger than 1,048,576 bytes"),
        (read_json, "[" * 100_000, TOO_DEEP),
        (read_json, "[" * 60 + "]" * 60, TOO_DEEP),
        (read_json, "9" * 10_000, "it has a whole number of thousands of digits"),
        (read_json, "{", "it is no JSON, or cut off: see line 1, column 2"),
        (read_json, "", "it is no JSON, or cut off: see line 1, column 1"),
    ],
)
def test_what_is_no_toml_or_json_or_too_much_of_it(tmp_path, read, text, reason):
    (tmp_path / "it").write_text(text)
    with pytest.raises(Unreadable, match=f"it' can't be read: {reason}"):
        read(tmp_path / "it", "file")


def test_what_only_looks_odd_is_read(tmp_path):
    text = f"# {'.' * 300}\na = 9223372036854775807\nb = '{'e.g. ' * 20}'\n" + "".join(
        f"c.d{n} = 1.5\n" for n in range(99)
    )
    (tmp_path / "it").write_text(text)
    assert read_toml(tmp_path / "it", "file")["a"] == 2**63 - 1


def test_a_file_larger_than_it_may_be(tmp_path):
    (tmp_path / "it").write_bytes(b"abcd")
    assert read_bytes(tmp_path / "it", "file", 4) == b"abcd"
    with pytest.raises(Unreadable, match="it is larger than 3 bytes, the most that is read of such a file"):
        read_bytes(tmp_path / "it", "file", 3)


def test_not_even_a_pipe_that_takes_the_file_s_place_is_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "it")
    monkeypatch.setattr(Path, "stat", lambda path: os.stat(__file__))  # noqa: PTH116
    with pytest.raises(Unreadable, match="it is a pipe"):
        read_text(tmp_path / "it", "file")


def test_the_fault_crosses_processes():
    fault = pickle.loads(pickle.dumps(Unreadable("track file", Path("a"), "why")))
    assert (str(fault), fault.reason) == ("The track file 'a' can't be read: why.", "why")


def test_hashes_ledgers_and_claims_wait_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / LEDGER_FILE)
    with pytest.raises(OSError, match="it is a pipe"):
        sha256_of(tmp_path / LEDGER_FILE)
    with pytest.raises(BadFile, match=r"The ledger '.*' can't be read: it is a pipe"):
        read_ledger(tmp_path)
    (tmp_path / CLAIMS).mkdir()
    os.mkfifo(tmp_path / CLAIMS / "1")
    with pytest.raises(DitbenchError, match=r"can't be written .it is a pipe"), sole_writer(tmp_path):
        pass


def test_a_message_is_one_line_that_can_be_read():
    assert for_a_line("a\nb\x1b[31m \ud800") == r"a b\x1b[31m \ud800"
    shown = for_a_line(f"The folder '{'x y ' * 2000}' and {'z' * 5000}.")
    assert len(shown) < 500 and shown.startswith("The folder 'x y") and shown.endswith("zzz.")
