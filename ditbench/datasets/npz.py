"""Arrays in an ``.npz``, judged by their headers before anything is unpacked. Nothing is unpickled."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..errors import BadFile, one_line
from ..storage.reading import open_file

DAMAGED = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)  # of the readers
_BEGINNING = 2**16  # bytes in which an array's header stands
_DENSEST = 1032  # bytes that deflate makes of one, at most
_TOLD = 6  # arrays that a message lists
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """What an array says of itself."""

    shape: tuple[int, ...]
    fortran: bool  # the first axis runs fastest
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def is_npz(path: Path) -> bool:
    """Whether a file is called one, in small letters or capitals."""
    return path.suffix.lower() == ".npz"


def names_in(path: Path) -> list[str]:
    """The names of the arrays; `BadFile` if it is no zip, which every .npz is."""
    with _opened(path) as file:
        return [name.removesuffix(".npy") for name in file.namelist()]


def described(path: Path) -> str:
    """The arrays in a file, each with its type and shape, as far as they can be read."""
    with _opened(path) as file:
        members = file.infolist()
        told = [_described(path, file, member) for member in members[:_TOLD]]
    more = [f"{len(members) - _TOLD} more"] if len(members) > _TOLD else []
    return ", ".join([*told, *more]) or "nothing"


@contextmanager
def open_array(path: Path, name: str) -> Iterator[tuple[IO[bytes], Header]]:
    """The bytes of an array's numbers, as a stream, and its header.

    `BadFile` if it is not there, holds Python objects, or has not as many bytes as its shape asks for.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_opened(path))
        if f"{name}.npy" not in file.namelist():
            raise BadFile(f"{str(path)!r} holds {described(path)}, and no {name}; give that name to what it should be.")
        member = file.getinfo(f"{name}.npy")
        header, begins = _header(path, file, member)
        _check_size(path, name, header, member, begins)
        stream = stack.enter_context(file.open(member))
        stream.read(begins)
        yield stream, header


def read_part(path: Path, name: str, stream: IO[bytes], size: int) -> bytes:
    """So many bytes of an array; `BadFile` if they are damaged or not there."""
    try:
        content = stream.read(size)
    except DAMAGED as error:
        raise BadFile(f"{str(path)!r} is damaged ({reason_in(error, path)}).") from None
    if len(content) < size:
        raise BadFile(f"{str(path)!r} is cut off: {name} has fewer bytes than its shape asks for.")
    return content


def read_array(path: Path, name: str, limit: int) -> npt.NDArray[Any]:
    """A whole array; `BadFile` if its numbers have more than `limit` bytes."""
    with open_array(path, name) as (stream, header):
        if header.size > limit:
            raise BadFile(f"{str(path)!r}: {name} is {header}, more than is read of such an array ({limit:,} bytes).")
        content = read_part(path, name, stream, header.size)
    return np.frombuffer(content, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def reason_in(error: Exception, path: Path) -> str:
    """Why a file can't be read, without the way to it."""
    return one_line(str(error).replace(str(path), path.name)) or type(error).__name__


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with open_file(path, "file") as content:
        try:
            file = zipfile.ZipFile(content)
        except Exception as error:  # a damaged list of members can fail in many ways
            raise BadFile(f"{str(path)!r} is no whole .npz ({reason_in(error, path)}).") from None
        with file:
            yield file


def _header(path: Path, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[Header, int]:
    """An array's header, and how many bytes it has."""
    name = member.filename.removesuffix(".npy")
    try:
        with file.open(member) as stream:
            start = io.BytesIO(stream.read(_BEGINNING))
        version = np.lib.format.read_magic(start)
        if version not in _HEADERS:
            raise ValueError(f"its format has version {version}")
        header = Header(*_HEADERS[version](start))
    except Exception as error:  # a damaged header, too
        raise BadFile(f"{str(path)!r} holds no readable {name} ({reason_in(error, path)}).") from None
    return header, start.tell()


def _check_size(path: Path, name: str, header: Header, member: zipfile.ZipInfo, begins: int) -> None:
    where = f"{str(path)!r}: {name} is {header}"
    if header.dtype.hasobject:
        raise BadFile(f"{where}: Python objects, which are not read. Save plain numbers.")
    if min(header.shape, default=0) < 0 or begins + header.size != member.file_size:
        held = max(0, member.file_size - begins)
        raise BadFile(f"{where}, which is {header.size:,} bytes, and there are {held:,}. It is cut off, or made up.")
    densest = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DENSEST}.get(member.compress_type)
    if densest is not None and member.file_size > densest * (member.compress_size + 1):
        raise BadFile(f"{where}, which can't be in the {member.compress_size:,} bytes that are there.")


def _described(path: Path, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    name = repr(member.filename.removesuffix(".npy"))
    try:
        return f"{name} ({_header(path, file, member)[0]})"
    except BadFile:
        return name
