"""Where the weights of feature extractors lie, and how they come here. Pinned by sha256; imports no torch."""

from __future__ import annotations

import importlib.util
import urllib.error
import urllib.request
from pathlib import Path

from ..components import Extractor, Weights
from ..errors import BadFile
from ..runtime.progress import CountCallback
from ..storage.files import (
    Unwritable,
    folder_of,
    is_file,
    make_folder,
    sha256_of,
    user_cache,
    write_atomically,
    write_bytes,
)
from ..storage.reading import read_bytes

_LARGEST = 2**33  # bytes of a file of weights
_CHUNK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without an answer


def weights_path(extractor: Extractor, given: Path | None = None) -> Path:
    """The extractor's file of weights: `given`, or its place in its package or in torch's cache.

    torch-fidelity and torch.hub use the same cache, so what one has fetched the others find. Raises `BadFile` when
    there is no such file; no other takes its place.
    """
    path = given or _place(extractor.weights)
    if given is not None and not is_file(given):
        raise BadFile(f"`weights` {str(given)!r} is no file; {extractor.name!r} takes {extractor.weights.file}.")
    if path is None or not is_file(path):
        raise BadFile(_missing(extractor, path))
    return path


def has_weights(extractor: Extractor) -> bool:
    """Whether the file is in its place; its content is checked when it is used."""
    path = _place(extractor.weights)
    return path is not None and is_file(path)


def check_weights(extractor: Extractor, path: Path) -> None:
    """Read the file through; `BadFile` if it is not the one that is pinned."""
    pin = extractor.weights
    try:
        found = sha256_of(path)
    except OSError as error:
        raise BadFile(f"Weights of {extractor.name!r}: {str(path)!r} can't be read ({error.strerror}).") from None
    if found != pin.sha256:
        raise BadFile(
            f"Weights of {extractor.name!r}: {str(path)!r} has sha256 {found[:12]}..., not {pin.sha256[:12]}... "
            f"Remove it and {_way_out(extractor)}."
        )


def require_weights(extractor: Extractor, offline: bool, report: CountCallback = lambda done, size: None) -> Path:
    """Where the weights are, once they are here: what is missing is fetched unless `offline`; `BadFile` if it can't be.

    A fetched file is kept only if its content is what was pinned.
    """
    path = _place(extractor.weights)
    if path is None or (not is_file(path) and (offline or not extractor.weights.url)):
        raise BadFile(_missing(extractor, path))
    if not is_file(path):
        _download(extractor, path, report)
    return path


def adopt_weights(extractor: Extractor, given: Path) -> Path:
    """Copy a file that was fetched elsewhere to its place in the cache, if it is the one that is pinned."""
    check_weights(extractor, weights_path(extractor, given))
    path = _place(extractor.weights)
    if path is None or not extractor.weights.url:
        raise BadFile(f"The weights of {extractor.name!r} come with a package: {_way_out(extractor)}.")
    content = read_bytes(given, "file of weights", _LARGEST)
    try:
        make_folder(path.parent)
        write_bytes(path, content)
    except Unwritable as error:
        raise BadFile(f"{str(path.parent)!r} can't be written ({error.reason}); TORCH_HOME names another.") from None
    return path


def torch_cache() -> Path:
    """Where torch keeps what it downloads; `TORCH_HOME` or `XDG_CACHE_HOME` move it."""
    return (folder_of("TORCH_HOME") or user_cache() / "torch") / "hub" / "checkpoints"


def _place(weights: Weights) -> Path | None:
    """Where the file belongs; None if the package that carries it is not installed."""
    if not weights.package:
        return torch_cache() / weights.file
    package, _, folder = weights.package.partition(":")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / folder / weights.file


def _download(extractor: Extractor, path: Path, report: CountCallback) -> None:
    pin = extractor.weights

    def fetch(temporary: Path) -> None:
        try:
            done = _copy(pin.url, temporary, report)
        except OSError as error:  # of the network, as urllib's own is, or of the disk
            reason = getattr(error, "reason", None) or error
            raise BadFile(f"{_missing(extractor, path)} Fetching them failed: {reason}.") from None
        found = sha256_of(temporary)
        if found != pin.sha256:
            raise BadFile(f"{_missing(extractor, path)} What came has sha256 {found[:12]}..., {done:,} bytes.")

    make_folder(path.parent)
    write_atomically(path, fetch)


def _copy(url: str, path: Path, report: CountCallback) -> int:
    """What is at an address, into a file; how many bytes that are. Raises `OSError`."""
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, path.open("wb") as file:
        size, done = int(answer.headers.get("Content-Length") or 0), 0
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            report(done, size)
    return done


def _missing(extractor: Extractor, path: Path | None) -> str:
    pin = extractor.weights
    source = pin.url or f"the package {pin.package.partition(':')[0]}"
    where = f"{str(path)!r} does not exist" if path is not None else "the package is not installed"
    return (
        f"Weights of {extractor.name!r} are missing: {pin.file} (sha256 {pin.sha256}) from {source}; {where}. "
        f"To have them, {_way_out(extractor)}."
    )


def _way_out(extractor: Extractor) -> str:
    if extractor.weights.url:
        return f"run `ditbench fetch {extractor.name}`, or give the file with `weights`"
    package = extractor.weights.package.partition(":")[0].replace("_", "-")
    return f"install {package} again"
