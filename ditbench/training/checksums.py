"""What a checkpoint's files were when they were written, in the form that the command sha256sum writes and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from ..storage.files import sha256_of, write_text
from ..storage.reading import Unreadable, read_text, reason_of

SUMS_FILE = "SHA256SUMS"


class SummingWriter(HuggingFaceStorageWriter):
    """The library's writer. Every process hashes what it has written, there and then, and the main one notes all."""

    def __init__(self, folder: Path, others: Mapping[str, str]) -> None:
        """`others` are the sha256 of files that are there already, by name; the main process knows them."""
        super().__init__(str(folder), save_distributed=True)
        self._folder, self._others = folder, others

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """See the library's. In place of where a tensor is, which nobody asks, a result has its file and that's sum."""
        results = super().write_data(plan, planner).wait()
        sums = {name: sha256_of(self._folder / name) for name in {one.storage_data.relative_path for one in results}}
        noted: Future[list[WriteResult]] = Future()
        noted.set_result(
            [replace(one, storage_data=(file := one.storage_data.relative_path, sums[file])) for one in results]
        )
        return noted

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """See the library's; in the main process, when all have written."""
        super().finish(metadata, results)
        sums: dict[str, Any] = {**self._others, **dict(one.storage_data for part in results for one in part)}
        lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
        write_text(self._folder / SUMS_FILE, lines)


def check(folder: Path) -> None:
    """`Unreadable` if a file is missing, or has other bytes than were written, or if that can't be told."""
    lines = (line.partition("  ") for line in read_text(folder / SUMS_FILE, "checkpoint").splitlines())
    sums = {name: said for said, _, name in lines}
    there = {path.name for path in folder.iterdir()} - {SUMS_FILE}
    for name in sorted(there ^ sums.keys()):
        reason = "it is not there" if name in sums else f"{SUMS_FILE} does not have it"
        raise Unreadable("checkpoint's file", folder / name, reason)
    for name, said in sums.items():
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise Unreadable("checkpoint's file", folder / name, reason_of(error)) from None
        if found != said:
            raise Unreadable("checkpoint's file", folder / name, "its bytes are not those that were written")
