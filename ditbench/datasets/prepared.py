"""Data sets of images of any size, or videos: latents that were prepared, or pixels, prepared on first use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import BadFile, BadValue, DitbenchError
from ..runtime.progress import CountCallback
from ..storage.files import cache_folder, exists, is_folder, whole_path
from ..storage.schema import digest
from .autoencoder import load_again
from .crop import cropped
from .entries import told
from .examples import Data, Examples, Request, Rows
from .held_out import FOLDER as HELD_OUT
from .held_out import held_out_examples, held_out_of, prepare
from .image_sets import ImageSet
from .known import is_known, note
from .pixels import Bytes
from .prepare import SAME_IMAGES
from .raw import Cut, RawImages, cut_for, kind_of
from .shards import (
    AUTOENCODER,
    MANIFEST,
    Manifest,
    Prepared,
    again,
    is_prepared,
    mean_and_std,
    open_prepared,
    read_manifest,
    sums,
)
from .sources import list_source
from .worker import first_changed

_FORMAT = 2  # of the cache
_CHUNK = 1024  # rows of images, or frames of clips, read at a time
_logger = logging.getLogger(__name__)


def load_latents(request: Request) -> Data:
    """What `ditbench data prepare --autoencoder` has made, in the folder `request.place`.

    The real images are cropped anew from the source if it is where it was and lists the same files; if their stamp is
    another, they are read once more to tell their hash. Raises `BadFile` if the folder holds something else.
    """
    folder = whole_path(request.place)
    command = (
        f"`ditbench data prepare SOURCE --autoencoder NAME --resolution {request.resolution} --out DIR`"
        f"{_with_frames(request)}"
    )
    if not is_prepared(folder):
        raise BadFile(f"{str(folder)!r} holds no latents. Make some with {command}.")
    prepared = open_prepared(folder)
    manifest = prepared.manifest
    if manifest.plan.autoencoder is None:
        raise BadFile(f"{str(folder)!r} holds pixels, not latents: {command} makes some.")
    _check_fits(prepared, request)
    raw, gone = images_of(manifest, request.offline)
    aside, labelled = held_out_examples(folder / HELD_OUT)
    return Data(
        name=manifest.plan.source.name,
        sha256=manifest.sha256,
        examples=Examples(prepared.rows, prepared.labels, manifest.plan.views, manifest.plan.moments),
        class_names=manifest.plan.class_names,
        images=None if raw is None else _cropped_again(raw, prepared),
        images_gone=gone,
        held_out=_held_out(raw, request.resolution),
        aside=aside,
        aside_labelled=labelled,
        skipped=len(manifest.skipped),
        autoencoder=manifest.plan.autoencoder,
        autoencoder_folder=folder / AUTOENCODER,
        mean=manifest.mean,
        std=manifest.std,
        reconstruction=manifest.reconstruction,
    )


def load_folder(request: Request) -> Data:
    """The images of a folder, prepared as pixels: already, or now, once, in the cache. `BadFile` for what is bad."""
    return _load_folder(request, None)


def load_clips(request: Request) -> Data:
    """The same of a folder of videos, which give a clip each, of `request.frames` frames."""
    cut = cut_for(request.frames, request.interval)
    if cut is None:
        raise BadValue("The data set 'clips' has clips of 2 frames or more, and `frames` is 1.")
    return _load_folder(request, cut)


def _load_folder(request: Request, cut: Cut | None) -> Data:
    folder = whole_path(request.place)
    if is_prepared(folder):
        prepared = open_prepared(folder)
        return _pixels(prepared, images_of(prepared.manifest, request.offline)[0], request, folder / HELD_OUT)
    raw = list_source(str(folder), request.skip_bad, cut=cut)
    if others := told(raw.left_out, raw.kind):
        _logger.warning("%s", others)
    return _prepared_once(raw, request)


def load_hub(request: Request) -> Data:
    """A data set of the Hugging Face hub, prepared as pixels, once, in the cache. place: its name."""
    return _prepared_once(list_source(f"hf:{request.place}", request.skip_bad, request.offline), request)


def load_stream(request: Request) -> Data:
    """The same, read as a stream: what comes from the hub is not kept, only the pixels."""
    return _prepared_once(list_source(f"hf-stream:{request.place}", request.skip_bad, request.offline), request)


def verify(folder: Path, report: CountCallback = lambda done, of: None) -> Prepared:
    """Read a finished folder through, whatever is remembered of it; `BadFile` names what is not as it should be.

    report: hears of the images, each of which is half done by its checksum and half by its statistics.
    """
    prepared = open_prepared(folder, False, lambda done, of: report(done // 2, of))
    manifest, plan = prepared.manifest, prepared.manifest.plan
    total, done = np.zeros((2, plan.row_shape[-3])), 0
    for rows in _chunks(prepared.rows, max(1, _CHUNK // plan.frames)):
        total += sums(rows, plan.moments)
        done += len(rows)
        report((manifest.count + done // plan.views) // 2, manifest.count)
    if not np.allclose(mean_and_std(total, plan, manifest.count), (manifest.mean, manifest.std), rtol=1e-6, atol=1e-9):
        raise BadFile(
            f"{str(folder / MANIFEST)!r} has other statistics than the shards. Remove it and {again(folder)}."
        )
    if plan.autoencoder:
        load_again(folder / AUTOENCODER, plan.autoencoder)
    return prepared


def made_of(place: str) -> Path:
    """The folder that a run would read for a place: prepared data, or what the cache has of a folder of images."""
    folder = whole_path(place)
    if is_prepared(folder) or not is_folder(folder):
        return folder
    listed = cache(lambda cut: list_source(str(folder), cut=cut))
    for manifest in sorted((cache_folder() / "data").glob(f"*/{MANIFEST}")):
        with suppress(BadFile):  # of other data
            of = read_manifest(manifest.parent)
            raw = listed(of.plan.cut)
            same = of.plan.source.stamp == raw.stamp or is_known(SAME_IMAGES, of.sha256, raw.stamp)
            if same and of.plan.source.listing == raw.listing:
                return manifest.parent
    raise BadFile(f"Nothing is prepared of {str(folder)!r} as it is now: a run does that, or `ditbench data prepare`.")


def compare_source(prepared: Prepared, offline: bool = False, report: CountCallback = lambda done, of: None) -> str:
    """Read all images that prepared data were made of; a line of what was found. `BadFile` names one that changed.

    report: hears of the images that were read.
    """
    raw, gone = images_of(prepared.manifest, offline)
    noun = kind_of(prepared.manifest.plan.cut).noun
    if raw is None:
        return f"the {noun}s are not compared: {gone}"
    changed = first_changed(raw, prepared.folder, prepared.manifest.plan, report)
    if changed is not None:
        raise BadFile(
            f"{raw.title(changed)!r} is no longer the {noun} that {str(prepared.folder)!r} was made of: prepare them "
            "anew, in another folder."
        )
    return f"compared: the {prepared.manifest.count:,} {noun}s in {raw.place!r} are those that were prepared"


def _prepared_once(raw: RawImages, request: Request) -> Data:
    """Pixels in the cache; held-out ones in a folder of their own, as the same images may have others beside them."""
    aside, folder = held_out_of(raw), _folder_in_cache(raw, request.resolution)
    apart = None if aside is None else _folder_in_cache(aside, request.resolution)
    prepare(
        raw,
        folder,
        request.resolution,
        apart=apart,
        skip_bad=request.skip_bad,
        offline=request.offline,
        report=request.report,
    )
    return _pixels(open_prepared(folder), raw, request, apart)


def _folder_in_cache(raw: RawImages, resolution: int) -> Path:
    """Where these images are prepared already, or else may be.

    Folders of images of the same names and sizes have one beginning, and then the stamp. A stamp that is new may be of
    a copy, or of other images: they are read once to know which.
    """
    of, cached = digest([_FORMAT, raw.listing, raw.class_names, resolution], 32), cache_folder() / "data"
    own = cached / f"{of}-{digest(raw.stamp, 16)}"
    if exists(own):
        return own
    others = [folder for folder in sorted(cached.glob(f"{of}-*")) if exists(folder / MANIFEST)]
    known = (folder for folder in others if is_known(SAME_IMAGES, read_manifest(folder).sha256, raw.stamp))
    return next(known, None) or next((folder for folder in others if _is_of(raw, folder)), own)


def _is_of(raw: RawImages, folder: Path) -> bool:
    """Whether a finished folder was made of these very images, which are read to know it."""
    manifest = read_manifest(folder)
    if manifest.skipped:  # nobody knows what these were like
        return False
    try:
        same = first_changed(raw, folder, manifest.plan) is None
    except BadFile:  # images or shards that can't be read: the images are prepared anew, which says what is wrong
        return False
    if same:
        note(SAME_IMAGES, manifest.sha256, raw.stamp)
    return same


def _pixels(prepared: Prepared, raw: RawImages | None, request: Request, apart: Path | None) -> Data:
    manifest = prepared.manifest
    if manifest.plan.autoencoder is not None:
        raise BadFile(
            f"{str(prepared.folder)!r} holds latents, not images. Give the images that they were made of, or prepare "
            f"these as pixels with `ditbench data prepare SOURCE --resolution {request.resolution} --out DIR`"
            f"{_with_frames(request)}."
        )
    _check_fits(prepared, request)
    name = manifest.plan.source.name if raw is None else raw.name
    aside, labelled = held_out_examples(apart)
    return Data(
        name=name,
        sha256=manifest.sha256,
        examples=Examples(prepared.rows, prepared.labels),
        class_names=manifest.plan.class_names,
        images=_as_images(name, prepared),
        held_out=_held_out(raw, request.resolution),
        aside=aside,
        aside_labelled=labelled,
        skipped=len(manifest.skipped),
    )


def _check_fits(prepared: Prepared, request: Request) -> None:
    plan = prepared.manifest.plan
    if plan.resolution != request.resolution:
        raise BadFile(
            f"{str(prepared.folder)!r} was prepared at {plan.resolution} pixels, but {request.resolution} are asked "
            f"for: prepare its source again, with `resolution` {request.resolution} and another `out`."
        )
    asked = cut_for(request.frames, request.interval)
    if plan.cut != asked:
        there, here = (f"clips of {cut.words}" if cut else "images" for cut in (plan.cut, asked))
        raise BadFile(
            f"{str(prepared.folder)!r} was prepared as {there}, but {here} are asked for: prepare its source again, "
            f"with `frames` {request.frames}, `interval` {request.interval} and another `out`."
        )


def _with_frames(request: Request) -> str:
    """What a command of images takes besides, to make clips."""
    return "" if request.frames == 1 else f" with `frames` {request.frames} and `interval` {request.interval}"


def images_of(manifest: Manifest, offline: bool) -> tuple[RawImages | None, str]:
    """The images that were prepared, if they are still there; or else the reason why not, a sentence."""
    source = manifest.plan.source
    try:
        raw = list_source(source.place, manifest.plan.skip_bad, offline, manifest.plan.cut)
    except DitbenchError as error:
        return None, str(error)
    if raw.listing != source.listing:
        return None, f"{source.place!r} has other files, or of other sizes, than when it was prepared."
    return raw, ""


def _cropped_again(raw: RawImages, prepared: Prepared) -> ImageSet:
    """The images of latents. Their hash is known unless they may have changed; then it is told, and must be that."""
    manifest = prepared.manifest
    source, resolution = manifest.plan.source, manifest.plan.resolution
    keep = np.delete(np.arange(len(raw)), [one.index for one in manifest.skipped])
    as_prepared = cropped(raw, resolution, keep, manifest.source_sha256)
    if raw.stamp == source.stamp or is_known(SAME_IMAGES, manifest.sha256, raw.stamp):
        return as_prepared
    now = cropped(raw, resolution, keep)

    def content() -> str:
        if now.hash() != as_prepared.hash():
            raise BadFile(
                f"The images in {source.place!r} changed since {str(prepared.folder)!r} was prepared of them: prepare "
                "them anew, in another folder, or give real images by `reference`."
            )
        note(SAME_IMAGES, manifest.sha256, raw.stamp)
        return now.hash()

    return replace(now, hash=content)


def _held_out(raw: RawImages | None, resolution: int) -> ImageSet | None:
    return None if raw is None or raw.held_out is None else cropped(raw.held_out, resolution)


def _as_images(name: str, prepared: Prepared) -> ImageSet:
    rows, sha256 = prepared.rows, prepared.manifest.sha256
    return ImageSet(name, rows.shape[0], rows.shape[1:], lambda size: _chunks(rows, size), lambda: sha256)


def _chunks(rows: Rows, size: int) -> Iterator[Bytes]:
    count = rows.shape[0]
    return (rows[np.arange(start, min(start + size, count))] for start in range(0, count, size))
