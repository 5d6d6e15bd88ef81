"""Files that are either whole or absent, and where they go."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import DitbenchError
from .reading import open_regular


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it into place.

    After a ``kill -9`` at any moment `path` holds the old content or the new, never a part.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.chmod(0o644)  # safetensors leaves 0600
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    """`DITBENCH_CACHE`, or ``ditbench`` in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ditbench"
    return Path(os.environ.get("DITBENCH_CACHE") or cache).expanduser()


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


def is_file(path: Path) -> bool:
    """Whether there is a file, as far as can be seen."""
    return exists(path) and path.is_file()


def in_cache(path: Path) -> bool:
    """Whether it lies in the cache, which no choice of an output folder moves, but `DITBENCH_CACHE`."""
    return path.absolute().is_relative_to(cache_folder().absolute())


def sweep(directory: Path) -> None:
    """Remove the temporary files that a killed writer left."""
    for stray in directory.glob(".*.tmp"):
        stray.unlink(missing_ok=True)


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_writable(directory: Path) -> None:
    """Create `directory` if need be and prove that files can be written there."""
    probe = directory / f".probe.{os.getpid()}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        cached = in_cache(directory)
        kind, way_out = ("cache", "DITBENCH_CACHE names another") if cached else ("output", "Choose another with `out`")
        raise DitbenchError(
            f"The {kind} folder {str(directory)!r} can't be written ({error.strerror}). {way_out}."
        ) from None
