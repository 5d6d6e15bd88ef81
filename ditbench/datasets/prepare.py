"""From images of any size, or videos, to shards of rows, by any number of processes on any number of machines.

The first to come writes down the plan and, with it, the autoencoder; whoever comes with another plan is refused. Then
every process is a `ShardWorker`, and whoever finds all shards finished writes the manifest.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..asking import end_with_parent
from ..discovery import version
from ..errors import BadFile, BadValue, DitbenchError
from ..records.facts import Reconstruction
from ..runtime.inheritance import apart_from_the_program
from ..runtime.processes import begin, start_server
from ..runtime.progress import CountCallback
from ..storage.claims import Claim, waiting_for
from ..storage.files import (
    Unwritable,
    as_the_umask_says,
    exists,
    in_cache,
    make_writable,
    write_text,
    writing,
)
from .autoencoder import Codec, load_again
from .examples import check_labels
from .known import is_known, note
from .raw import RawImages
from .shards import (
    AUTOENCODER,
    MANIFEST,
    PARTS,
    PLAN,
    ImageSource,
    Manifest,
    PreparationPlan,
    Skipped,
    again,
    check_memory,
    mean_and_std,
    read_digests,
    read_json,
    shard_path,
)
from .sources import list_source
from .worker import Hear, ShardWorker, check_unchanged, is_finished, read_notes

SAME_IMAGES = "images"  # a note: prepared data of this hash were made of the images of this stamp
SHARD_SIZE = 1024  # images, or frames of clips: 34 MB of latents of 256 pixels
_PATIENCE = 300.0  # seconds for another process to agree on the plan
_MAY_DIFFER = {"source": {"name", "place", "stamp"}, "autoencoder": {"name"}}  # from machine to machine
_OTHERWISE = {
    "resolution": "images of another resolution",
    "cut": "clips that are cut out otherwise, or of images",
    "autoencoder": "another autoencoder, or none",
    "source": "other images",
    "class_names": "other classes",
    "shard_size": "shards of another size",
}


@dataclass(frozen=True)
class _Task:
    """All that a process must know to join in."""

    folder: Path
    place: str
    stamp: str
    skip_bad: bool
    offline: bool
    device: str
    batch_size: int | None
    threads: int


def prepare(
    raw: RawImages,
    folder: Path,
    resolution: int,
    autoencoder: Codec | None = None,
    *,
    skip_bad: bool = False,
    offline: bool = False,
    processes: int = 1,
    batch_size: int | None = None,
    shard_size: int = SHARD_SIZE,
    report: CountCallback = lambda done, of: None,
) -> Manifest:
    """Make what is not there yet of the shards, in this process or in `processes` others; see `shards` for the format.

    Without an autoencoder the rows are pixels. Raises `BadFile` for an image that can't be read (with `skip_bad` it is
    left out and noted), for a class that has none left, for a folder that is made of something else. report: hears of
    the images that all processes have done.
    """
    if processes > 1 and raw.place.startswith("hf-stream:"):
        raise BadValue(f"{raw.place!r} is a stream, which each of {processes} processes would read from its start.")
    plan = _plan(raw, resolution, autoencoder, skip_bad, shard_size)
    check_memory(plan)
    with _trouble(folder):
        _agree(raw, folder, plan, autoencoder)
        manifest = _finished(folder, plan)
        if manifest is not None:
            report(len(raw), len(raw))
            return manifest
        done = {shard: len(plan.images_of(shard)) for shard in range(plan.shards) if is_finished(folder, shard)}
        _check_skipped(plan, (one for shard in done for one in read_notes(folder, shard).skipped))
        hear = _counting(done, lambda images: report(images, len(raw)))
        if processes == 1:
            ShardWorker(raw, folder, plan, autoencoder, batch_size).work(hear)
        else:
            device = "cpu" if autoencoder is None else str(autoencoder.device)
            threads = max(1, multiprocessing.cpu_count() // processes)
            task = _Task(folder, raw.place, raw.stamp, skip_bad, offline, device, batch_size, threads)
            _in_processes(processes, task, hear)
        manifest = _finish(raw, folder, plan)
        note(SAME_IMAGES, manifest.sha256, raw.stamp)
        return manifest


def _counting(done: dict[int, int], report: Callable[[int], None]) -> Hear:
    """What hears of the images that each shard has, and tells how many there are of all."""

    def hear(shard: int, images: int) -> None:
        done[shard] = images
        report(sum(done.values()))

    report(sum(done.values()))
    return hear


def _plan(
    raw: RawImages, resolution: int, autoencoder: Codec | None, skip_bad: bool, shard_size: int
) -> PreparationPlan:
    if autoencoder is not None:
        autoencoder.cells(resolution)
    return PreparationPlan(
        resolution=resolution,
        autoencoder=autoencoder.facts if autoencoder else None,
        source=ImageSource(
            name=raw.name,
            place=raw.place,
            split=raw.split,
            listing=raw.listing,
            stamp=raw.stamp,
            images=len(raw),
        ),
        class_names=raw.class_names,
        skip_bad=skip_bad,
        shard_size=max(1, shard_size // raw.frames),
        cut=raw.cut,
    )


def _agree(raw: RawImages, folder: Path, plan: PreparationPlan, autoencoder: Codec | None) -> None:
    """Write the plan down, unless it is there; with it, all that it names is ours, and without it, nothing."""
    make_writable(folder, claimed=True)
    with _sole_planner(folder):
        if not exists(folder / PLAN):
            _check_empty(folder)
            write_text(folder / PLAN, plan.model_dump_json(indent=1))
        there = read_json(folder / PLAN, PreparationPlan)
        _check_same(folder, there, plan)
        (folder / PARTS).mkdir(exist_ok=True)
        if autoencoder is not None and not exists(folder / AUTOENCODER):
            _save(autoencoder, folder)
    if there.source.stamp != plan.source.stamp:  # copied, or changed; others may go on meanwhile
        _check_images(raw, folder, there)
    with _sole_planner(folder):
        _note(folder, plan)


def _check_images(raw: RawImages, folder: Path, there: PreparationPlan) -> None:
    """`BadFile` if images are not those that the folder was made of so far; of a finished one, that is noted."""
    manifest = read_json(folder / MANIFEST, Manifest) if exists(folder / MANIFEST) else None
    if manifest and is_known(SAME_IMAGES, manifest.sha256, raw.stamp):
        return
    check_unchanged(raw, folder, there)
    if manifest:
        note(SAME_IMAGES, manifest.sha256, raw.stamp)


def _check_empty(folder: Path) -> None:
    strangers = [entry.name for entry in folder.iterdir() if entry.name[0] != "."]
    if strangers:
        raise BadFile(f"{str(folder)!r} holds something else, {strangers[0]!r}: {_elsewhere(folder)}.")


def _note(folder: Path, plan: PreparationPlan) -> None:
    """Where the images were found last, and whether bad ones may be skipped: so far, there were none."""
    there = read_json(folder / PLAN, PreparationPlan)
    now = there.model_copy(update={"source": plan.source, "skip_bad": there.skip_bad or plan.skip_bad})
    if now != there:
        write_text(folder / PLAN, now.model_dump_json(indent=1))
    if not exists(folder / MANIFEST):
        return
    manifest = read_json(folder / MANIFEST, Manifest)
    if manifest.plan != now:
        write_text(folder / MANIFEST, manifest.model_copy(update={"plan": now}).model_dump_json(indent=1))


def _finished(folder: Path, plan: PreparationPlan) -> Manifest | None:
    """The manifest, if there is one and the shards are as long as it says."""
    if not exists(folder / MANIFEST):
        return None
    manifest = read_json(folder / MANIFEST, Manifest)
    _check_skipped(plan, manifest.skipped)
    whole = (
        is_finished(folder, number) and shard_path(folder, number).stat().st_size == shard.bytes
        for number, shard in enumerate(manifest.shards)
    )
    return manifest if all(whole) else None


def _check_skipped(plan: PreparationPlan, skipped: Iterable[Skipped]) -> None:
    """Who has not said that images may be left out hears of the first that was."""
    first = next(iter(skipped), None)
    if first is not None and not plan.skip_bad:
        raise BadFile(f"{first.file!r} can't be read. Mend it, remove it, or leave it out with `skip_bad`.")


def _sole_planner(folder: Path) -> AbstractContextManager[Claim]:
    return waiting_for(folder / f".{PLAN}.claims", _PATIENCE)


def _check_same(folder: Path, there: PreparationPlan, now: PreparationPlan) -> None:
    before, after = (plan.model_dump(exclude=_MAY_DIFFER) for plan in (there, now))
    other = [words for field, words in _OTHERWISE.items() if before.get(field) != after.get(field)]
    if other:
        raise BadFile(f"{str(folder)!r} is of {other[0]}: {_elsewhere(folder)}.")


def _elsewhere(folder: Path) -> str:
    return "remove it from the cache" if in_cache(folder) else "choose another folder with `out`, or remove this one"


def _save(autoencoder: Codec, folder: Path) -> None:
    """All of it or nothing."""
    temporary = folder / f".{AUTOENCODER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # a killed process left it
    with writing(folder / AUTOENCODER):
        autoencoder.save(temporary)
        as_the_umask_says(temporary)
        temporary.rename(folder / AUTOENCODER)


@contextmanager
def _trouble(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, Unwritable) as error:
        reason = error.reason if isinstance(error, Unwritable) else error.strerror or error
        other = " DITBENCH_CACHE names another cache." if in_cache(folder) else ""
        raise DitbenchError(
            f"{str(folder)!r} can't be written ({reason}). Mend that and {again(folder)}.{other}"
        ) from None
    except torch.OutOfMemoryError:
        raise DitbenchError(
            "The device has too little memory for the autoencoder: give a smaller `batch_size`, or fewer processes."
        ) from None


def _in_processes(count: int, task: _Task, hear: Hear) -> None:
    """Let clean processes work, and pass on what they say. Whatever ends this ends them; they have nothing to save."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    start_server()
    workers: dict[Any, BaseProcess] = {}  # by the end of the pipe that is heard here
    try:
        for _ in range(count):
            inbox, outbox = context.Pipe(duplex=False)
            workers[inbox] = context.Process(target=begin, args=(_serve, outbox, task), daemon=True)
            with apart_from_the_program():
                workers[inbox].start()
            outbox.close()
        talking: list[Any] = list(workers)
        while talking:
            for inbox in connection.wait(talking):  # type: ignore[assignment]
                if not _listen(inbox, workers[inbox], hear):
                    talking.remove(inbox)
    finally:
        for inbox, worker in workers.items():
            if worker.pid is not None:  # it has been started
                worker.kill()
                worker.join()
            inbox.close()


def _listen(inbox: Connection, worker: BaseProcess, hear: Hear) -> bool:
    """Whether there may be more to hear. Raises what the process raised."""
    try:
        message = inbox.recv()
    except EOFError:
        worker.join()
        code = worker.exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name
            raise DitbenchError(
                f"A process was killed by {name}; give the same command with fewer processes."
            ) from None
        if code > 0:
            raise RuntimeError(f"a process ended with exit code {code}; its traceback stands above") from None
        return False
    if isinstance(message, DitbenchError):
        raise message
    hear(*message)
    return True


def _serve(outbox: Connection, task: _Task) -> None:
    """In a process of its own: join in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches whoever started this, which ends it
    end_with_parent()
    try:
        with _trouble(task.folder):
            _joiner(task).work(lambda shard, images: outbox.send((shard, images)))
    except DitbenchError as error:
        outbox.send(error)


def _joiner(task: _Task) -> ShardWorker:
    """A worker on a plan that is written down."""
    plan = read_json(task.folder / PLAN, PreparationPlan).model_copy(update={"skip_bad": task.skip_bad})
    raw = list_source(task.place, task.skip_bad, task.offline, plan.cut)
    if (raw.listing, raw.stamp) != (plan.source.listing, task.stamp):
        raise BadFile(f"{task.place!r} has changed since it was listed: {again(task.folder)} when it is at rest.")
    autoencoder = None
    if plan.autoencoder is not None:
        autoencoder = load_again(task.folder / AUTOENCODER, plan.autoencoder, torch.device(task.device))
    return ShardWorker(raw, task.folder, plan, autoencoder, task.batch_size, task.threads)


def _finish(raw: RawImages, folder: Path, plan: PreparationPlan) -> Manifest:
    """The manifest, written unless another process has done so."""
    notes = [read_notes(folder, shard) for shard in range(plan.shards)]
    skipped = tuple(one for note in notes for one in note.skipped)
    _check_skipped(plan, skipped)
    kept = np.delete(raw.labels, [one.index for one in skipped])
    if not len(kept):
        raise BadFile(f"None of the {len(raw)} {raw.kind.noun}s of {raw.name!r} can be read.")
    without = f"{raw.name!r}, without the {len(skipped)} {raw.kind.noun}s that can't be read"
    check_labels(without, kept, plan.class_names, raw.kind.noun)
    mean, std = mean_and_std(np.sum([note.sums for note in notes], axis=0), plan, len(kept))
    manifest = Manifest(
        plan=read_json(folder / PLAN, PreparationPlan),
        count=len(kept),
        shards=tuple(note.shard for note in notes),
        skipped=skipped,
        source_sha256=_source_sha256(folder, plan),
        mean=mean,
        std=std,
        ditbench=version("ditbench"),
    )
    with _sole_planner(folder):
        path = folder / MANIFEST
        if not exists(path) or read_json(path, Manifest).shards != manifest.shards:
            write_text(path, manifest.model_dump_json(indent=1))
        return read_json(path, Manifest)


def keep_reconstruction(folder: Path, found: Reconstruction) -> Manifest:
    """Write down in the manifest how close decoded latents are, in place of what another time has found so."""
    with _trouble(folder), _sole_planner(folder):
        manifest = read_json(folder / MANIFEST, Manifest)
        others = (one for one in manifest.reconstruction if one.features != found.features)
        manifest = manifest.model_copy(update={"reconstruction": (*others, found)})
        write_text(folder / MANIFEST, manifest.model_dump_json(indent=1))
    return manifest


def _source_sha256(folder: Path, plan: PreparationPlan) -> str:
    """Hash of the encoded images that were read; the same as `crop.hash_images` of them."""
    content = hashlib.sha256()
    for shard in range(plan.shards):
        content.update(read_digests(shard_path(folder, shard)).tobytes())
    return content.hexdigest()
