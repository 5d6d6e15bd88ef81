"""Files that are either whole or absent, and where they go."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ..errors import BadFile, DitbenchError
from .reading import open_regular, reason_of

_NOT_KNOWN = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.ENOSYS,
)  # to the file system, as flushing a folder to some

_OF_RUST = re.compile(r"I/O error: .*\(os error (\d+)\)")  # an OSError in the words of libraries such as safetensors


class Unwritable(BadFile):
    """A file or folder of ours that the disk does not take; `reason` is why, for whoever has more to say."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{str(path)!r} can't be written: {reason}. Mend that, or choose another place.")

    def __reduce__(self) -> tuple[type[Unwritable], tuple[Path, str]]:
        return Unwritable, (self.path, self.reason)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What fails meanwhile as writing fails, on a full disk for one, is `Unwritable`: around nobody's code but ours."""
    try:
        yield
    except OSError as error:
        raise Unwritable(path, reason_of(error)) from None
    except Exception as error:
        hidden = _OF_RUST.search(str(error))
        if hidden is None:
            raise
        raise Unwritable(path, os.strerror(int(hidden[1]))) from None


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it into place.

    After a ``kill -9`` at any moment `path` holds the old content or the new, never a part. `DitbenchError` if no file
    can have that name, `Unwritable` if the disk can't hold it.
    """
    check_target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            mode = _made(temporary)
            write(temporary)
            _set_mode(temporary, mode)
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text; a kill may leave a part of it. `Unwritable` if the disk can't hold it."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def make_folder(path: Path) -> None:
    """Make a folder and those that it is in, unless they are there; `Unwritable` if that can't be."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for as long as it is needed; `DitbenchError` if none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    except OSError as error:
        raise DitbenchError(
            f"There is no temporary folder to work in: {reason_of(error)}. Give one by TMPDIR."
        ) from None
    with folder as name:
        yield Path(name)


def check_target(path: Path) -> None:
    """`DitbenchError` if no file can be written under a name: there is something else, or no folder to be in."""
    try:
        folder = stat.S_ISDIR(path.parent.stat().st_mode)
        with suppress(FileNotFoundError):
            path.with_name(f".{path.name}.{os.getpid()}.tmp").stat()  # the name that it has first, which is longer
        fault = "" if folder else "what it is in is no folder"
        with suppress(FileNotFoundError):
            fault = fault or _no_file(path.stat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a NUL, or no name at all
        missing = isinstance(error, FileNotFoundError)
        fault = "there is no such folder" if missing else getattr(error, "strerror", None) or "it is no name"
    if fault:
        raise DitbenchError(f"The file {str(path)!r} can't be written: {fault}. Choose another name.")


def _no_file(mode: int) -> str:
    """What stands where a file is to be; empty if that may be replaced. Of a device nobody would want that."""
    if stat.S_ISDIR(mode):
        return "there is a folder of that name"
    return "" if stat.S_ISREG(mode) else "what has that name is no file, but a device, a pipe or a socket"


def as_the_umask_says(folder: Path) -> None:
    """Give all files below the mode that a new file has here: a library may have made them private."""
    probe = folder / ".mode.tmp"
    mode = _made(probe)
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file():
            _set_mode(file, mode)


def _made(path: Path) -> int:
    """Make a file, as `open` does, and not where a link of that name leads; the mode that this gave it."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        return stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def _set_mode(path: Path, mode: int) -> None:
    """Safetensors leaves 0600. A file system that refuses chmod gets a copy, which is made as any file is."""
    if stat.S_IMODE(path.stat().st_mode) == mode:
        return
    try:
        path.chmod(mode)
    except OSError:
        copy = path.with_name(f".{path.name}.copy.tmp")
        try:
            shutil.copyfile(path, copy)
            copy.replace(path)
        finally:
            copy.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    write_atomically(path, lambda temporary: _fill(temporary, content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def sha256_of(path: Path) -> str:
    """Hash of a file's content; `OSError` if it is none, as a pipe is."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """`DITBENCH_CACHE`, or ``ditbench`` in the user's cache; `DitbenchError` if that leads nowhere."""
    return folder_of("DITBENCH_CACHE") or user_cache() / "ditbench"


def user_cache() -> Path:
    """`XDG_CACHE_HOME`, or ``.cache`` at home; of a user without a home, as in many containers, among temporary files.

    `DitbenchError` if that is somebody else's, who could have put anything there.
    """
    try:
        return folder_of("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / f"cache-of-{os.getuid()}"
    if exists(folder) and folder.stat().st_uid != os.getuid():
        raise DitbenchError(
            f"This user has no home, and {str(folder)!r} is somebody else's: set HOME or DITBENCH_CACHE."
        )
    return folder


def folder_of(variable: str) -> Path | None:
    """The folder that a variable of the environment names, with ``~`` followed; None: it is not set."""
    named = os.environ.get(variable)
    try:
        folder = Path(named).expanduser() if named else None
    except RuntimeError:
        raise DitbenchError(f"{variable} is {named!r}, and there is no such home folder: give a whole path.") from None
    if folder is not None and exists(folder) and not folder.is_dir():
        raise DitbenchError(f"{variable} is {named!r}, which is no folder: give another, or unset it.")
    return folder


def whole_path(path: str | Path) -> Path:
    """From the root on, with ``~`` and links followed as far as they lead."""
    try:
        path = Path(path).expanduser()
    except RuntimeError:  # nobody is called like that
        path = Path(path)
    return Path(os.path.realpath(path))  # unlike `resolve`, it bears links in a circle


def exists(path: Path) -> bool:
    """Whether there is something, as far as can be seen; a name too long is no error, but of nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder, as far as can be seen."""
    return exists(path) and path.is_dir()


def is_taken(path: Path) -> bool:
    """Whether there is something of that name, as far as can be seen; a link that leads nowhere, too."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def check_folder(path: Path) -> None:
    """`DitbenchError` if there is something else than a folder, or none can have that name; there may be nothing."""
    try:
        fault = "" if stat.S_ISDIR(path.stat().st_mode) else "it is no folder"
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        fault = reason_of(error)
    if fault:
        raise DitbenchError(f"The folder {str(path)!r} can't be read: {fault}. Choose another.")


def is_file(path: Path) -> bool:
    """Whether there is a file, as far as can be seen."""
    return exists(path) and path.is_file()


def in_cache(path: Path) -> bool:
    """Whether it lies in the cache, which no choice of an output folder moves, but `DITBENCH_CACHE`."""
    return path.absolute().is_relative_to(cache_folder().absolute())


def sweep(directory: Path) -> None:
    """Remove the temporary files and folders that a killed writer left."""
    for stray in directory.glob(".*.tmp"):
        if stray.is_dir() and not stray.is_symlink():
            shutil.rmtree(stray, ignore_errors=True)
        else:
            stray.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """To the disk, as far as the file system knows of that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_KNOWN:
            raise
    finally:
        os.close(descriptor)


def reserve(path: Path) -> None:
    """Have room on the disk for all of a file that is to be mapped: who writes where there is none is killed.

    `Unwritable` if there is not so much. Where the file system or Python knows no such thing, nothing is done.
    """
    with writing(path), path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except AttributeError:  # not on a Mac
            return
        except OSError as error:
            if error.errno not in _NOT_KNOWN:
                raise


def make_writable(directory: Path, *, claimed: bool = False) -> None:
    """Create `directory` if need be and try there all that will be done; `DitbenchError` names what can't be.

    claimed: commands keep each other apart there, by hard links.
    """
    probe = directory / f".probe.{uuid4().hex}.tmp"  # containers share process numbers
    link = probe.with_name(f".link{probe.name}")
    trying = ""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(probe, b"old")
        trying = "replacing a file: "
        write_bytes(probe, b"new")
        if claimed:
            trying = "hard links, by which ditbench keeps two commands apart: "
            os.link(probe, link)
    except (OSError, ValueError, Unwritable) as error:  # ValueError: a NUL in the name
        cached, reason = in_cache(directory), error.reason if isinstance(error, Unwritable) else reason_of(error)
        kind, way_out = ("cache", "DITBENCH_CACHE names another") if cached else ("output", "Choose another with `out`")
        raise DitbenchError(
            f"The {kind} folder {str(directory)!r} can't be written ({trying}{reason}). {way_out}."
        ) from None
    finally:
        for left in (probe, link):
            with suppress(OSError, ValueError):
                left.unlink()
