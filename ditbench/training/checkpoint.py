"""The state of a run in training, as torch.distributed.checkpoint writes and reads it: safetensors, and a JSON file.

Every process writes its part, and any other number of processes can take the whole up. A checkpoint is a folder that
appears by a rename when all of it is on the disk, with the sha256 of every file. The newest is taken up, or if it is
damaged the one before, which is kept for that. Nothing of it is ever unpickled.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from ..errors import BadFile
from ..records.curve import Curve, StepTimes
from ..records.facts import PeakMemory
from ..records.files import CHECKPOINTS
from ..runtime.distributed import ALONE, World
from ..storage.files import Unwritable, exists, flush, make_folder, sha256_of, write_text, writing
from ..storage.reading import Unreadable, check_file, read_bytes
from ..storage.schema import Frozen
from .checksums import SUMS_FILE, SummingWriter, check

FOLDER = "checkpoints"  # in the run's directory
FACTS_FILE = "state.json"
PARTIAL = "*.partial.*"  # what `samples.py` writes while a run is sampled and measured
LAYOUT = 4  # 3: a folder of safetensors; 4: with checksums
_WITHOUT_SUMS = 3
_DAMAGED = "damaged"  # ends the name of one that was left out
_LARGEST = 2**28  # bytes of what is no tensor: a long run's curve
_BEFORE_LAYOUT_3 = "checkpoint.pt"


class CheckpointFacts(Frozen):
    """What is no tensor of a trainer's state."""

    before: float  # progress before the last step
    clock: dict[str, float]
    curve: Curve
    times: StepTimes
    seconds: dict[str, float]  # of what is not training
    peak: PeakMemory
    resumed: int
    damaged: int = 0
    pauses: int = 0
    paused_seconds: float = 0.0
    groups: list[dict[str, Any]]  # of the optimiser's parameters: its settings, and steps if it counts them there


class _Content(Frozen):
    run: str
    layout: int
    facts: Any  # looked at when the rest is right


class _Damaged(BadFile):
    """A checkpoint that is not what was written, and why that is known."""

    def __init__(self, folder: Path, error: Unreadable | pydantic.ValidationError) -> None:
        file = error.path.name if isinstance(error, Unreadable) else FACTS_FILE
        self.what = f"The checkpoint {folder.name} is damaged ({file}: {_in_words(error)})"
        super().__init__(_unreadable(folder, f"{file}: {_in_words(error)}"))


class _Found(NamedTuple):
    """The one to go on from."""

    name: str
    facts: CheckpointFacts
    remarks: tuple[str, ...]


class Saved:
    """A checkpoint on the disk. What a person should know of its choice is in `remarks`."""

    def __init__(self, folder: Path, found: _Found, world: World, group: Any) -> None:
        self.facts, self.remarks = found.facts, found.remarks
        self._folder, self._world, self._group = folder, world, group
        self.shapes: Mapping[str, TensorStorageMetadata] = self._guarded(self._read_shapes)

    def read_into(self, tensors: dict[str, Tensor]) -> None:
        """Fill tensors, or this process's shards of them, by their names. `BadFile` if the checkpoint has others."""
        ours = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if ours != {name: tuple(saved.size) for name, saved in self.shapes.items()}:
            raise BadFile(f"The checkpoint {str(self._folder)!r} does not fit its run. Start over with `force`.")
        _be_quiet()
        self._guarded(
            lambda: load(
                dict(tensors),
                storage_reader=HuggingFaceStorageReader(str(self._folder)),
                process_group=self._group,
                no_dist=self._world.size == 1,
            )
        )

    def _read_shapes(self) -> Any:
        for path in self._folder.iterdir():
            check_file(path, "checkpoint")  # the library would wait for a pipe
        return HuggingFaceStorageReader(str(self._folder)).read_metadata().state_dict_metadata

    def _guarded(self, read: Any) -> Any:
        try:
            return read()
        except (Exception, CheckpointException) as error:  # a torn file can fail anywhere
            raise BadFile(_unreadable(self._folder, _in_words(error))) from None


class _Pinned(BlockingAsyncStager):
    """Copies into pinned memory that stays for the next checkpoint, since pinning takes longer than copying.

    `DefaultStager` would do that, too, but that of torch 2.11 can't be used twice.
    """

    def __init__(self) -> None:
        super().__init__(cache_staged_state_dict=True)
        self._form: dict[str, Any] = {}

    def stage(self, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """A copy of the tensors. If they are others than before, so is the memory: an optimiser makes its own late."""
        form = {name: (tensor.shape, tensor.dtype) for name, tensor in state_dict.items()}
        if form != self._form:
            self.state_dict_cache, self._form = None, form
        return super().stage(state_dict)


class Checkpoints:
    """Those of one run. All processes of the run call the same methods in the same order."""

    def __init__(self, directory: Path, run_hash: str, world: World = ALONE, pinned: bool = False) -> None:
        """pinned: states are copied into pinned memory, which a GPU fills by itself."""
        self._directory, self._folder, self._run_hash, self._world = directory, directory / FOLDER, run_hash, world
        self._group, self._stager = world.apart(), _Pinned() if pinned else None  # None: into any memory
        self._being_written: tuple[Future[Any], Path] | None = None

    def save(self, tensors: dict[str, Tensor], facts: CheckpointFacts) -> None:
        """Take a copy of the state, and write it while others go on; `settle` waits for that."""
        self.settle()
        name, sums = self._world.from_main(self._make_room(facts) if self._world.main else ("", {}))
        temporary = self._folder / name
        _be_quiet()
        written = async_save(
            tensors,
            storage_writer=SummingWriter(temporary, sums),
            async_stager=self._stager,
            process_group=self._group,
            no_dist=self._world.size == 1,
        )
        assert isinstance(written, Future)
        self._being_written = written, temporary

    def settle(self, wait: bool = True) -> None:
        """What has been saved can be taken up from now on; without `wait`, only if it is on the disk already."""
        if self._being_written is None or not (wait or self._being_written[0].done()):
            return
        (written, temporary), self._being_written = self._being_written, None
        try:
            written.result()
        except CheckpointException as error:
            if self._world.main:
                shutil.rmtree(temporary, ignore_errors=True)  # a full disk needs room for the record
            raise Unwritable(self._folder / temporary.stem[1:], _in_words(error)) from None
        if self._world.main:
            self._publish(temporary)

    def latest(self) -> Saved | None:
        """The one to go on from, or None. A foreign one is a `BadFile`, and a damaged one, if there is none before."""
        found = self._world.from_main(self._newest() if self._world.main else None)
        if isinstance(found, BadFile):
            raise found
        return Saved(self._folder / found.name, found, self._world, self._group) if found else None

    def _newest(self) -> _Found | BadFile | None:
        """As the main process finds it: others may see a shared folder as it was before."""
        damaged: dict[str, _Damaged] = {}
        try:
            for name in reversed(self._names()):
                try:
                    return self._instead(damaged, name, *self._looked_at(self._folder / name))
                except _Damaged as error:
                    damaged[name] = error
        except BadFile as error:
            return error
        return next(iter(damaged.values()), None)

    def _looked_at(self, folder: Path) -> tuple[CheckpointFacts, str]:
        """What is no tensor of a sound checkpoint, and what is to be said of it; `BadFile` if it is not sound."""
        try:
            if exists(folder / SUMS_FILE):
                check(folder)
            told = read_bytes(folder / FACTS_FILE, "checkpoint", _LARGEST)
            content = _Content.model_validate_json(told)
            if content.run != self._run_hash:
                raise BadFile(f"The checkpoint {str(folder)!r} belongs to another run. Start over with `force`.")
            if content.layout not in (LAYOUT, _WITHOUT_SUMS):
                raise _of_another_version(folder)
            if content.layout == LAYOUT:
                check_file(folder / SUMS_FILE, "checkpoint's file")
            facts = CheckpointFacts.model_validate(content.facts)
        except (Unreadable, pydantic.ValidationError) as error:
            raise _Damaged(folder, error) from None
        unsure = "is of an older ditbench and has no checksums: whether it is as it was written can't be told."
        return facts, f"The checkpoint {folder.name} {unsure}" if content.layout == _WITHOUT_SUMS else ""

    def _instead(self, damaged: Mapping[str, _Damaged], name: str, facts: CheckpointFacts, remark: str) -> _Found:
        """The one to go on from, in place of damaged ones after it, which lose their numbers and are told of."""
        remarks = [f"{error.what}. The one before, {name}, is taken up." for error in damaged.values()]
        for other in damaged:
            with writing(self._folder / other):
                (self._folder / other).rename(self._folder / f"{other}.{_DAMAGED}")
        known = facts.damaged + len(list(self._folder.glob(f"*.{_DAMAGED}")))  # those that a killed process found, too
        return _Found(name, facts.model_copy(update={"damaged": known}), tuple(filter(None, [*remarks, remark])))

    def _make_room(self, facts: CheckpointFacts) -> tuple[str, dict[str, str]]:
        """A hidden folder of the next number, with what is no tensor, and the sha256 of that."""
        name = f".{int(max(self._names(), default=0, key=int)) + 1:06d}.tmp"
        shutil.rmtree(self._folder / name, ignore_errors=True)
        make_folder(self._folder / name)
        content = _Content(run=self._run_hash, layout=LAYOUT, facts=facts)
        path = self._folder / name / FACTS_FILE
        write_text(path, content.model_dump_json())
        return name, {FACTS_FILE: sha256_of(path)}

    def _publish(self, temporary: Path) -> None:
        """Give the folder its number, and remove all but it and the one before."""
        with writing(self._folder):
            flush(temporary)
            temporary.rename(self._folder / temporary.stem[1:])
            flush(self._folder)
            kept = self._names()[-CHECKPOINTS:]
            for other in self._folder.iterdir():
                if other.name not in kept:
                    hidden = other.with_name(f".{other.name.strip('.')}.old.tmp")
                    shutil.rmtree(other.rename(hidden))

    def _names(self) -> list[str]:
        """Of what may be taken up, the newest last."""
        if (self._directory / _BEFORE_LAYOUT_3).exists():
            raise _of_another_version(self._directory / _BEFORE_LAYOUT_3)
        found = self._folder.iterdir() if self._folder.exists() else ()
        return sorted((path.name for path in found if path.name.isdecimal()), key=int)


def discard(directory: Path) -> None:
    """Remove what a finished run needs no more, checkpoint and samples: record and EMA weights are what stays."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)
    for path in directory.glob(PARTIAL):
        path.unlink(missing_ok=True)


def like(saved: TensorStorageMetadata, model: Tensor) -> Tensor:
    """An empty tensor for what was saved: sharded as its model if it is of the same shape."""
    if saved.size == model.shape:
        return torch.empty_like(model, dtype=saved.properties.dtype)
    return torch.empty(saved.size, dtype=saved.properties.dtype, device=model.device)


def _be_quiet() -> None:
    """One process is no mistake. In force from now on, since the words come from a thread."""
    warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")


def _unreadable(path: Path, why: str) -> str:
    return f"The checkpoint {str(path)!r} can't be read ({why}). Start the run over with `force`."


def _in_words(error: BaseException) -> str:
    """An error in one line; of the library's, which is no `Exception`, what it was on the first process."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Unreadable):
        return error.reason
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _of_another_version(path: Path) -> BadFile:
    return BadFile(f"The checkpoint {str(path)!r} is of another version of ditbench. Start over with `force`.")
