"""The state of a run in training, as torch.distributed.checkpoint writes and reads it: safetensors, and a JSON file.

Every process writes its part, and any other number of processes can take the whole up. A checkpoint is a folder that
appears by a rename when all of it is on the disk. Nothing of it is ever unpickled.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pydantic
import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from ..errors import BadFile, DitbenchError
from ..records.curve import Curve, StepTimes
from ..records.facts import PeakMemory
from ..runtime.distributed import ALONE, World
from ..storage.files import flush, write_text
from ..storage.reading import Unreadable, check_file, read_bytes
from ..storage.schema import Frozen

FOLDER = "checkpoints"  # in the run's directory; it holds one, and for a moment two
FACTS_FILE = "state.json"
PARTIAL = "*.partial.*"  # what `samples.py` writes while a run is sampled and measured
LAYOUT = 3  # 3: a folder of safetensors
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
    pauses: int = 0
    paused_seconds: float = 0.0
    groups: list[dict[str, Any]]  # of the optimiser's parameters: its settings, and steps if it counts them there


class _Content(Frozen):
    run: str
    layout: int
    facts: Any  # looked at when the rest is right


class Saved:
    """A checkpoint on the disk."""

    def __init__(self, folder: Path, facts: CheckpointFacts, world: World, group: Any) -> None:
        self.facts = facts
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
            raise _unreadable(self._folder, error) from None


class Checkpoints:
    """Those of one run. All processes of the run call the same methods in the same order."""

    def __init__(self, directory: Path, run_hash: str, world: World = ALONE) -> None:
        self._directory, self._folder, self._run_hash, self._world = directory, directory / FOLDER, run_hash, world
        self._group = world.apart()
        self._being_written: tuple[Future[Any], Path] | None = None

    def save(self, tensors: dict[str, Tensor], facts: CheckpointFacts) -> None:
        """Take a copy of the state, and write it while others go on; `settle` waits for that."""
        self.settle()
        temporary = self._folder / self._world.from_main(self._make_room(facts) if self._world.main else "")
        _be_quiet()
        written = async_save(
            tensors,
            storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
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
            raise DitbenchError(f"The checkpoint can't be written ({_in_words(error)}).") from None
        if self._world.main:
            self._publish(temporary)

    def latest(self) -> Saved | None:
        """The one to go on from, or None. A damaged or foreign one is a `BadFile`."""
        found = self._world.from_main(self._newest() if self._world.main else None)
        if isinstance(found, BadFile):
            raise found
        return Saved(self._folder / found[0], found[1], self._world, self._group) if found else None

    def _newest(self) -> tuple[str, CheckpointFacts] | BadFile | None:
        """As the main process finds it: others may see a shared folder as it was before."""
        try:
            name = self._last()
            return (name, self._facts(self._folder / name)) if name else None
        except BadFile as error:
            return error

    def _make_room(self, facts: CheckpointFacts) -> str:
        """A hidden folder of the next number, with what is no tensor."""
        name = f".{int(self._last() or 0) + 1:06d}.tmp"
        shutil.rmtree(self._folder / name, ignore_errors=True)
        (self._folder / name).mkdir(parents=True)
        content = _Content(run=self._run_hash, layout=LAYOUT, facts=facts)
        write_text(self._folder / name / FACTS_FILE, content.model_dump_json())
        return name

    def _publish(self, temporary: Path) -> None:
        """Give the folder its number, and remove those before."""
        flush(temporary)
        temporary.rename(self._folder / temporary.stem[1:])
        flush(self._folder)
        for other in self._folder.iterdir():
            if other.name != temporary.stem[1:]:
                hidden = other.with_name(f".{other.name.strip('.')}.old.tmp")
                shutil.rmtree(other.rename(hidden))

    def _last(self) -> str | None:
        if (self._directory / _BEFORE_LAYOUT_3).exists():
            raise _of_another_version(self._directory / _BEFORE_LAYOUT_3)
        found = self._folder.iterdir() if self._folder.exists() else ()
        return max((path.name for path in found if path.name.isdecimal()), key=int, default=None)

    def _facts(self, folder: Path) -> CheckpointFacts:
        try:
            told = read_bytes(folder / FACTS_FILE, "checkpoint", _LARGEST)
            content = _Content.model_validate_json(told)
            if content.run != self._run_hash:
                raise BadFile(f"The checkpoint {str(folder)!r} belongs to another run. Start over with `force`.")
            if content.layout != LAYOUT:
                raise _of_another_version(folder)
            return CheckpointFacts.model_validate(content.facts)
        except (Unreadable, pydantic.ValidationError) as error:
            raise _unreadable(folder, error) from None


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


def _unreadable(path: Path, error: BaseException) -> BadFile:
    return BadFile(f"The checkpoint {str(path)!r} can't be read ({_in_words(error)}). Start the run over with `force`.")


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
