"""An .npz is judged by its headers: no bomb is unpacked, nothing is unpickled, no pipe is waited for."""

import io
import os
import time
import zipfile

import numpy as np
import pytest

from ditbench.datasets.image_sets import open_images
from ditbench.datasets.npz import described, names_in, open_array, read_array
from ditbench.errors import BadFile

pytestmark = pytest.mark.timeout(20)


def header(shape, dtype="|u1", order=False):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": dtype, "fortran_order": order, "shape": shape})
    return content.getvalue()


def packed(path, content, name="arr_0.npy", kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((2_000_000, 256, 256, 3)) + bytes(99), "is 393,216,000,000 bytes, and there are 99. It is cut off"),
        (header((20, 8, 8, 3)) + bytes(20 * 8 * 8 * 3 + 1), "is 3,840 bytes, and there are 3,841"),
        (header((-20, 8, 8, 3)) + bytes(99), r"arr_0 is uint8 \(-20, 8, 8, 3\)"),
        (header((2**70, 2**70, 1, 1)), "bytes, and there are 0"),
        (header((1, 2**14, 2**14, 1)) + bytes(2**28), "images of 16384x16384 pixels"),
        (header((20, 8, 8, 3), "|O") + b"cos\nsystem\n(S'true'\ntR.", "Python objects, which are not read"),
        (b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + bytes(2**20), "holds no readable arr_0"),
        (b"\x93NUMPY\x03\x00" + bytes(99), r"holds no readable arr_0 \(its format has version"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535, "holds no readable arr_0"),
        (b"", "holds no readable arr_0"),
        (b"no array", "holds no readable arr_0"),
    ],
)
def test_headers_that_do_not_fit_are_refused_before_anything_is_unpacked(tmp_path, content, message):
    path = packed(tmp_path / "it.npz", content)
    before = time.monotonic()
    with pytest.raises(BadFile, match=message) as fault:
        open_images(path)
    assert "it.npz" in str(fault.value) and "\n" not in str(fault.value) and time.monotonic() - before < 5


def test_a_list_of_members_that_lies(tmp_path):
    shape = (1_000_000, 8, 8, 3)
    path = packed(tmp_path / "it.npz", header(shape) + bytes(99), kind=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as file:
        size = file.infolist()[0].file_size
    claimed = (len(header(shape)) + 192_000_000).to_bytes(4, "little")
    content = path.read_bytes()
    at = content.rindex(size.to_bytes(4, "little") * 2)  # packed and unpacked, in the list at the end
    path.write_bytes(content[: at + 4] + claimed + content[at + 8 :])
    with pytest.raises(BadFile, match=r"which can't be in the \d+ bytes that are there"):
        open_images(path)


def test_names_headers_and_numbers(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6).reshape(2, 3)), "c": np.float32(1)}
    np.savez_compressed(tmp_path / "it.npz", **arrays)
    assert names_in(tmp_path / "it.npz") == ["a", "b", "c"]
    assert described(tmp_path / "it.npz") == "'a' (float64 (2, 3)), 'b' (int64 (2, 3)), 'c' (float32 ())"
    for name, array in arrays.items():
        np.testing.assert_array_equal(read_array(tmp_path / "it.npz", name, 48), array)
    with pytest.raises(BadFile, match=r"a is float64 \(2, 3\), more than is read of such an array \(47 bytes\)"):
        read_array(tmp_path / "it.npz", "a", 47)
    message = r"holds 'a' .* and no arr_0; give that name"
    with pytest.raises(BadFile, match=message), open_array(tmp_path / "it.npz", "arr_0"):
        pass
    packed(tmp_path / "odd.npz", b"?", "readme.txt")
    assert described(tmp_path / "odd.npz") == "'readme.txt'"
    np.savez(tmp_path / "many.npz", *[np.zeros(1)] * 9)
    assert described(tmp_path / "many.npz").endswith("'arr_5' (float64 (1,)), 3 more")


def test_capitals_and_what_is_no_file(tmp_path):
    np.savez(tmp_path / "it.npz", np.zeros((20, 8, 8, 3), np.uint8))
    assert open_images((tmp_path / "it.npz").rename(tmp_path / "IT.NPZ")).count == 20
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(BadFile, match=r"pipe.npz' can't be read: it is a pipe"), open_array(tmp_path / "pipe.npz", "a"):
        pass
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    for name in ("pipe.npz", "loop.npz", "x" * 5000 + ".npz", "a\0.npz"):
        with pytest.raises(BadFile, match="There is no folder and no file"):
            open_images(tmp_path / name)
