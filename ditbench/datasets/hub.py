"""Image data sets of the Hugging Face hub, or of a folder in its formats, by the library `datasets`.

``hf:NAME[:CONFIG][@REVISION]`` downloads a data set as that library does, and reads its images in any order.
``hf-stream:NAME[:CONFIG][@REVISION]`` keeps nothing: labels come from their column alone, and images one after another
as they are asked for. Going back then means to begin again.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadFile, BadValue, DitbenchError, one_line
from ..extras import install
from ..storage.files import is_file, is_folder, whole_path
from ..storage.schema import digest
from .crop import crop_of
from .entries import Trace, read_image, trace_of
from .examples import Labels, check_labels
from .known import is_known, note
from .raw import HELD_OUT, TRAINED, UNKNOWN, RawImages

SCHEMES = ("hf", "hf-stream")
_PATTERN = re.compile(r"(?P<path>[^:@]+)(:(?P<config>[^:@]+))?(@(?P<revision>[^:@]+))?")
_SAVED = ("dataset_dict.json", "state.json")  # by which a folder of save_to_disk is known
_KEPT = 256  # images of a stream that were passed over and may still be asked for
_AT_ONCE = 10_000  # labels


@dataclass(frozen=True)
class _Source:
    """What a name stands for."""

    name: str  # as it was spelled
    path: str  # on the hub, or a folder, whole
    config: str | None
    revision: str | None
    streamed: bool  # nothing is kept

    @property
    def local(self) -> bool:
        return is_folder(Path(self.path))

    @property
    def place(self) -> str:
        """What opens it again, from wherever a run starts."""
        return f"{self.name.partition(':')[0]}:{self.path}" if self.local else self.name


@dataclass(frozen=True)
class _Columns:
    """Where the images and their labels are."""

    image: str
    label: str | None
    class_names: tuple[str, ...]


def list_hub(name: str, skip_bad: bool = False, offline: bool = False) -> RawImages:
    """The split ``train`` of a data set; the first of `HELD_OUT` that it has is held out.

    Columns are known by their types, Image and ClassLabel. Without a ClassLabel the images have no classes; a held-out
    label may be -1, unknown; a training image without a class is a `BadFile`, with `skip_bad` once it is read.
    Raises `BadFile`, naming the data set, if it is not to be had or is not like that, `BadValue` without the library.
    """
    source = _parse(name)
    if offline and source.streamed and not source.local:
        raise BadFile(f"{name!r} can't be streamed offline; fetch {_downloaded(name)!r} once without `offline`.")
    try:
        library = importlib.import_module("datasets")
    except ModuleNotFoundError:
        raise BadValue(f"{name!r} needs 'datasets': {install('ditbench[hf]')}.") from None
    with _network(library, offline):
        splits = _load(library, source)
        if TRAINED not in splits:
            raise BadFile(f"{name!r} has no split {TRAINED!r}, only {', '.join(splits)}.")
        columns = _columns(library, source, splits[TRAINED].features)
        trained = _list(library, source, splits, TRAINED, columns)
        if not len(trained):
            raise BadFile(f"{name!r} has no images.")
        if skip_bad:
            trained = _unreadable_without_class(trained)
        check_labels(repr(name), trained.labels, trained.class_names)
        aside = next((split for split in HELD_OUT if split in splits), None)
        held_out = _list(library, source, splits, aside, columns) if aside else None
    return replace(trained, held_out=held_out)


def _parse(name: str) -> _Source:
    scheme, _, rest = name.partition(":")
    if scheme not in SCHEMES or not rest:
        raise BadValue(f"{name!r} is spelled wrong; write hf:NAME[:CONFIG][@REVISION], or hf-stream: before the name.")
    streamed, folder = scheme == "hf-stream", whole_path(rest)
    if is_folder(folder):  # its name may hold any character
        return _Source(name, str(folder), None, None, streamed)
    found = _PATTERN.fullmatch(rest)
    if not found:
        raise BadValue(f"{name!r} is spelled wrong; write {scheme}:NAME[:CONFIG][@REVISION].")
    return _Source(name, **found.groupdict(), streamed=streamed)


def _downloaded(name: str) -> str:
    return name.replace("hf-stream:", "hf:", 1)


@contextmanager
def _network(library: Any, offline: bool) -> Iterator[None]:
    """With `offline`, the libraries take what they have cached; they read this setting at their import alone."""
    settings = [library.config, importlib.import_module("huggingface_hub.constants")]
    before = [module.HF_HUB_OFFLINE for module in settings]
    try:
        for module in settings:
            module.HF_HUB_OFFLINE = offline or module.HF_HUB_OFFLINE
        yield
    finally:
        for module, value in zip(settings, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _load(library: Any, source: _Source, **options: Any) -> Mapping[str, Any]:
    """The splits by their names."""
    saved = _is_saved(source)
    if saved and source.streamed:
        raise BadFile(f"{source.name!r} is whole on this disk and can't be streamed: {_downloaded(source.name)!r}.")
    with _in_one_line(source):
        if saved:
            found = library.load_from_disk(source.path)
            return found if isinstance(found, dict) else {TRAINED: found}
        where = {"revision": source.revision, "streaming": source.streamed}
        if source.local and not source.streamed:
            return _load_local(library, source, where)
        return library.load_dataset(source.path, source.config, **where, **options)  # type: ignore[no-any-return]


def _load_local(library: Any, source: _Source, where: Mapping[str, Any]) -> Mapping[str, Any]:
    """The library knows files by the time of their change, which can be kept: what may have changed, it reads anew."""
    seen = (source.path, source.config, digest(_traces(source)))
    mode = "reuse_dataset_if_exists" if is_known("loaded", *seen) else "force_redownload"
    found: Mapping[str, Any] = library.load_dataset(source.path, source.config, **where, download_mode=mode)
    note("loaded", *seen)
    return found


def _is_saved(source: _Source) -> bool:
    return source.local and any(is_file(Path(source.path) / file) for file in _SAVED)


@contextmanager
def _in_one_line(source: _Source) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what is not there, or damaged, fails in many ways
        way_out = "" if source.local else " A folder with a copy of it will do, too: hf:DIR."
        raise BadFile(f"{source.name!r} can't be loaded ({_reason(error)}).{way_out}") from None


def _columns(library: Any, source: _Source, features: Mapping[str, Any] | None) -> _Columns:
    features = features or {}
    images = [name for name, kind in features.items() if isinstance(kind, library.Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, library.ClassLabel)]
    for kind, found in (("Image", images), ("ClassLabel", labels)):
        if len(found) > 1:
            raise BadFile(f"{source.name!r} has several columns of type {kind}: {', '.join(found)}; one is needed.")
    if not images:
        raise BadFile(f"{source.name!r} has no column of type Image, only {', '.join(features) or 'unknown ones'}.")
    return _Columns(images[0], labels[0] if labels else None, tuple(features[labels[0]].names) if labels else ())


def _list(library: Any, source: _Source, splits: Mapping[str, Any], split: str, columns: _Columns) -> RawImages:
    rows = splits[split]
    if columns.image not in rows.features:
        raise BadFile(f"{source.name!r}: the split {split!r} has no column {columns.image!r}.")
    labels = (_streamed_labels if source.streamed else _stored_labels)(library, source, rows, split, columns)
    images = rows.select_columns([columns.image]).cast_column(columns.image, library.Image(decode=False))
    row = _Stream(images).row if source.streamed else images.__getitem__
    home = _home(source, rows)
    size = rows.info.dataset_size if source.streamed else rows.data.nbytes
    listing = hashlib.sha256(repr((split, columns, source.revision, size)).encode() + labels.tobytes())
    stamp = repr((source.path, source.config, split, _identity(library, source, rows, split)))

    def title(number: int) -> str:
        return f"{source.name} ({split} image {number})"

    return RawImages(
        name=Path(source.path).name if source.local else source.path,
        place=source.place,
        split=split,
        labels=labels,
        class_names=columns.class_names,
        listing=listing.hexdigest(),
        read=lambda number: _content(row, number, columns.image, title(number), home),
        title=title,
        crop=crop_of,
        stamp=hashlib.sha256(stamp.encode()).hexdigest(),
    )


def _identity(library: Any, source: _Source, rows: Any, split: str) -> object:
    """What tells a split from others of the same shape: as the library knows it, and what is known of local files."""
    local = _traces(source) if source.local else []
    if not source.streamed:
        return rows._fingerprint, local
    with _in_one_line(source):
        builder = library.load_dataset_builder(source.path, source.config, revision=source.revision)
    files = (builder.config.data_files or {}).get(split, [])
    return list(files), getattr(files, "origin_metadata", None), local  # times, or the hub's commit


def _traces(source: _Source) -> list[tuple[str, Trace]]:
    """What is known, without reading, of all files of a local data set."""
    found, seen = [], set()
    for place, folders, files in os.walk(source.path, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        found += [path for path in (Path(place) / file for file in files) if is_file(path)]
    return [(os.path.relpath(path, source.path), trace_of(path)) for path in sorted(found)]


def _unreadable_without_class(raw: RawImages) -> RawImages:
    """Images whose label is no class's, left to whoever skips and counts what can't be read."""
    bad = (raw.labels < 0) | (raw.labels >= max(1, len(raw.class_names)))

    def read(number: int) -> bytes:
        if bad[number]:
            raise BadFile(f"{raw.title(number)} has no class.")
        return raw.read(number)

    return replace(raw, labels=np.where(bad, 0, raw.labels), read=read)


def _stored_labels(library: Any, source: _Source, rows: Any, split: str, columns: _Columns) -> Labels:
    """The label of each image, 0 without classes."""
    if not columns.label:
        return np.zeros(len(rows), np.int64)
    if columns.label not in rows.features:
        return np.full(len(rows), UNKNOWN)
    table = rows.select_columns([columns.label]).with_format("arrow")[:]
    return _numbers(table.column(columns.label))


def _streamed_labels(library: Any, source: _Source, rows: Any, split: str, columns: _Columns) -> Labels:
    """The same of a stream, of which no other column is read, as Parquet allows."""
    if columns.label not in rows.features:
        told = (rows.info.splits or {}).get(split)
        if told is None or not told.num_examples:
            raise BadFile(f"{source.name!r} doesn't say how many images it has; use {_downloaded(source.name)!r}.")
        return np.full(told.num_examples, UNKNOWN if columns.label else 0)
    if rows.info.builder_name != "parquet":
        raise BadFile(f"{source.name!r} is not Parquet and can't be streamed; use {_downloaded(source.name)!r}.")
    alone = _load(library, source, columns=[columns.label])[split]
    with _in_one_line(source):
        tables = alone.with_format("arrow").iter(batch_size=_AT_ONCE)
        parts = [_numbers(table.column(columns.label)) for table in tables]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _numbers(column: Any) -> Labels:
    return np.asarray(column.fill_null(UNKNOWN).to_numpy(), np.int64)


@dataclass(eq=False)
class _Stream:
    """Rows that come one after another, asked for by their numbers, also by several threads at a time.

    A row is handed out once. So what is kept is what nobody has asked for yet, and a thread that is left behind for
    however long finds its row: reading in order, as many are kept as there are threads.
    """

    rows: Any
    coming: Iterator[Any] = field(init=False)
    begun: int = field(default=0, init=False)  # rows that have come
    kept: dict[int, Any] = field(init=False)  # those of them that were passed over, the oldest first
    lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.coming, self.begun, self.kept = iter(self.rows), 0, {}

    def row(self, number: int) -> Any:
        """Reads on to this row; if it is past and no longer kept, from the beginning."""
        with self.lock:
            if number < self.begun and number not in self.kept:
                self._begin()
            while self.begun <= number:
                self._come()
            return self.kept.pop(number)

    def _come(self) -> None:
        try:
            self.kept[self.begun] = next(self.coming)
        except Exception:  # what has failed once has nothing more to give
            self._begin()
            raise
        self.begun += 1
        if len(self.kept) > _KEPT:
            del self.kept[next(iter(self.kept))]


def _home(source: _Source, rows: Any) -> Path | None:
    """The folder below which rows may name files: a local data set's own; of the hub, where the library downloads to.

    The latter only if it has listed the files itself. None: what the rows say is a stranger's, and names no file here.
    """
    if source.local:
        return Path(source.path)
    listed = rows.info.builder_name == "imagefolder"
    return Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE) if listed else None


def _content(row: Callable[[int], Any], number: int, column: str, title: str, home: Path | None) -> bytes:
    """The encoded image of a row, from the row itself or from a file below `home`; `BadFile` if that is bad.

    Raises `DitbenchError` if there are no more rows to be had, which is no fault of one image that might be skipped.
    """
    try:
        image = row(number)[column] or {}
    except StopIteration:
        raise DitbenchError(f"{title} is missing: the data set ends before it.") from None
    except Exception as error:  # of the network, of the library
        raise DitbenchError(f"{title} can't be had ({_reason(error)}).") from None
    if image.get("bytes"):
        return bytes(image["bytes"])
    if not image.get("path"):
        raise BadFile(f"{title} is empty.")
    if not _is_below(home, image["path"]):
        raise BadFile(f"{title} is no image but the path {image['path']!r}, which leads out of the data set.")
    try:
        return read_image(Path(home or "", image["path"]))
    except BadFile as error:
        raise BadFile(f"{title}: {error}") from None


def _is_below(home: Path | None, path: str) -> bool:
    """Whether a path leads below a folder, all links followed; a relative one begins there."""
    if home is None or "\0" in path:
        return False
    return whole_path(home / path).is_relative_to(whole_path(home))


def _reason(error: Exception) -> str:
    return one_line(error) or type(error).__name__
