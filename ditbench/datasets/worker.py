"""One process's share of a preparation: claim a shard, read and crop its images, encode them, write it; and the next.

A shard is finished when its file is there and then its notes, ``parts/00000.json``; killed at any moment, a process
loses the shard it was making and nothing else. On a CPU each image is encoded by itself, in one thread: so the latents
are the same to the last bit however many cores and processes share the work, and come sooner, too.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from safetensors.numpy import save

from ..errors import BadFile, RunBusy
from ..runtime.progress import CountCallback
from ..storage.claims import Claim, Contender
from ..storage.files import write_bytes, write_text
from ..storage.schema import Frozen
from .autoencoder import Codec
from .crop import digests
from .decoder import PART
from .pixels import Bytes
from .raw import RawImages
from .shards import PARTS, PreparationPlan, Shard, Skipped, again, read_digests, read_json, shard_path, sums

_AT_ONCE = 8  # images between two reports, or one per thread
_ASK_AGAIN = 0.5  # seconds until shards that others are making are looked at again
Hear = Callable[[int, int], None]  # hears how many images of which shard are done


class Notes(Frozen):
    """What the manifest needs to know of a finished shard."""

    shard: Shard
    skipped: tuple[Skipped, ...]
    sums: Annotated[tuple[tuple[float, ...], ...], Field(min_length=2, max_length=2)]


@dataclass(frozen=True, eq=False)
class _Example:
    rows: npt.NDArray[Any]  # (V, ...) as in the shard; or what is still to be encoded, pixels (1, [F,] 3, R, R)
    label: int
    sha256: bytes  # of the encoded image


@dataclass(eq=False)
class _Making:
    """A shard while it grows."""

    rows: list[npt.NDArray[Any]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ShardWorker:
    """Makes shards of what is planned, beside any number of others."""

    raw: RawImages
    folder: Path
    plan: PreparationPlan
    autoencoder: Codec | None  # of latents, on its device
    batch_size: int | None = None  # images in one pass of it, on a GPU
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)  # that read, crop and, on a CPU, encode
    _contenders: dict[int, Contender] = field(default_factory=dict, init=False)  # for the shards that others make

    def work(self, hear: Hear) -> None:
        """Until all shards are finished, whoever made them. Raises `BadFile` for an image, unless bad ones may go."""
        left, torch_threads = list(range(self.plan.shards)), torch.get_num_threads()
        pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            while left:
                still = [shard for shard in left if not self._settle(shard, pool, hear)]
                if still == left:
                    time.sleep(_ASK_AGAIN)
                left = still
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(torch_threads)

    def _settle(self, shard: int, pool: ThreadPoolExecutor, hear: Hear) -> bool:
        """Whether the shard is finished, after making it if nobody else is."""
        if not is_finished(self.folder, shard):
            folder = self.folder / PARTS / f"{shard:05d}.claims"
            claim = self._contenders.setdefault(shard, Contender(folder)).take()
            if claim is None:
                return False
            try:
                with claim:
                    self._make_unless_made(shard, claim, pool, hear)
            except RunBusy:  # another has been making it for a while
                return False
        hear(shard, len(self.plan.images_of(shard)))
        return True

    def _make_unless_made(self, shard: int, claim: Claim, pool: ThreadPoolExecutor, hear: Hear) -> None:
        if not is_finished(self.folder, shard):
            making = self._make(shard, pool, hear)
            claim.check()
            self._write(shard, making)

    def _make(self, shard: int, pool: ThreadPoolExecutor, hear: Hear) -> _Making:
        path, making, done = shard_path(self.folder, shard), _Making(), 0
        for stray in (*self.folder.glob(f".{path.name}.*.tmp"), notes_path(self.folder, shard)):
            stray.unlink(missing_ok=True)
        for batch in self._batches(self.plan.images_of(shard), pool):
            examples = [one for one in batch if isinstance(one, _Example)]
            making.skipped += [one for one in batch if isinstance(one, Skipped)]
            if examples:
                rows = np.concatenate([example.rows for example in examples])
                making.rows.append(rows if self._encodes_in_threads else self._encode(rows))
            making.labels += [example.label for example in examples]
            making.digests += [example.sha256 for example in examples]
            done += len(batch)
            hear(shard, done)
        return making

    @property
    def _encodes_in_threads(self) -> bool:
        return self.autoencoder is None or self.autoencoder.device.type == "cpu"

    def _batches(self, images: range, pool: ThreadPoolExecutor) -> Iterator[list[_Example | Skipped]]:
        """Images one batch ahead of whoever takes them."""
        size = max(_AT_ONCE, self.threads) if self._encodes_in_threads else self.batch_size or PART["cuda"]
        waiting: deque[list[Future[_Example | Skipped]]] = deque()
        for start in range(0, len(images), size):
            waiting.append([pool.submit(self._read, image) for image in images[start : start + size]])
            if len(waiting) > 1:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]

    def _read(self, image: int) -> _Example | Skipped:
        title = self.raw.title(image)
        try:
            content = self.raw.read(image)
            rows = self.raw.crop(content, title, self.plan.resolution)[None]
        except BadFile as error:
            if not self.plan.skip_bad:
                raise BadFile(f"{error} Mend it, remove it, or leave it out with `skip_bad`.") from None
            return Skipped(index=image, file=title)
        if self._encodes_in_threads:
            rows = self._encode(rows)
        return _Example(rows, int(self.raw.labels[image]), hashlib.sha256(content).digest())

    def _encode(self, pixels: Bytes) -> npt.NDArray[Any]:
        """Rows of images and, between them, of their mirror images, (2n, ...) as the plan has them; pixels stay."""
        if self.autoencoder is None:
            return pixels
        views = [self._latents(self.autoencoder, view) for view in (pixels, pixels[..., ::-1].copy())]
        return np.stack(views, axis=1).reshape(-1, *self.plan.row_shape)

    def _latents(self, autoencoder: Codec, pixels: Bytes) -> npt.NDArray[np.float16]:
        """Moments (n, 2, [F,] C, h, w), or latents (n, [F,] C, h, w); clips are encoded frame by frame."""
        images = torch.from_numpy(pixels).flatten(0, -4)
        statistics = [
            of_images.reshape(*pixels.shape[:-3], *of_images.shape[1:])
            for of_images in autoencoder.encode(images, self.batch_size)
        ]
        latents = torch.stack(statistics, dim=1) if self.plan.moments else statistics[0]
        autoencoder.check_numbers(latents)
        found: npt.NDArray[np.float16] = latents.half().cpu().numpy()
        return found

    def _write(self, shard: int, making: _Making) -> None:
        """The shard, then its notes."""
        dtype = np.uint8 if self.autoencoder is None else np.float16
        rows = np.concatenate([np.empty((0, *self.plan.row_shape), dtype), *making.rows])
        labels, digests = np.array(making.labels, np.int64), np.frombuffer(b"".join(making.digests), np.uint8)
        content = save({"rows": rows, "labels": labels, "digests": digests.reshape(-1, 32)})
        write_bytes(shard_path(self.folder, shard), content)
        first, second = sums(rows, self.plan.moments).tolist()
        notes = Notes(
            shard=Shard(count=len(making.labels), bytes=len(content), sha256=hashlib.sha256(content).hexdigest()),
            skipped=tuple(making.skipped),
            sums=(tuple(first), tuple(second)),
        )
        write_text(notes_path(self.folder, shard), notes.model_dump_json())


def notes_path(folder: Path, shard: int) -> Path:
    """The file of a shard's notes."""
    return folder / PARTS / f"{shard:05d}.json"


def read_notes(folder: Path, shard: int) -> Notes:
    """The notes of a finished shard."""
    return read_json(notes_path(folder, shard), Notes)


def check_unchanged(raw: RawImages, folder: Path, plan: PreparationPlan) -> None:
    """`BadFile` if an image is no longer the one that a finished shard was made of. Reads the images of all of them."""
    changed = first_changed(raw, folder, plan)
    if changed is not None:
        raise BadFile(f"{raw.title(changed)!r} has changed since {str(folder)!r} was begun: remove that folder.")


def first_changed(
    raw: RawImages, folder: Path, plan: PreparationPlan, report: CountCallback = lambda done, of: None
) -> int | None:
    """The first image that is not the one that a finished shard was made of; None if all are. Reads them up to that.

    report: hears of the images that were read. Raises `BadFile` if one, or a shard, can't be read.
    """
    done = 0
    for shard in filter(lambda shard: is_finished(folder, shard), range(plan.shards)):
        skipped = {one.index for one in read_notes(folder, shard).skipped}
        numbers = np.array([number for number in plan.images_of(shard) if number not in skipped], np.int64)
        path = shard_path(folder, shard)
        before = [digest.tobytes() for digest in read_digests(path)]
        if len(before) != len(numbers):
            raise BadFile(f"The shard {str(path)!r} is not what its notes say. Remove it and {again(folder)}.")
        for number, one, other in zip(numbers.tolist(), before, digests(raw, numbers), strict=True):
            if one != other:
                return int(number)
        done += len(numbers)
        report(done, len(raw))
    return None


def is_finished(folder: Path, shard: int) -> bool:
    """Notes are written last; but somebody may have removed a damaged shard, to have it made again."""
    return notes_path(folder, shard).exists() and shard_path(folder, shard).exists()
