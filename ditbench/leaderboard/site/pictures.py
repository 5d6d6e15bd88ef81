"""The grids of samples: found beside the records, and shown only if they are what the records say."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...records.files import GRID_FILE
from ...records.record import Record
from ...records.validation.png import fault, moves, size_of, still

_LARGEST = 16 * 2**20  # bytes: a page has one of these per row


@dataclass(frozen=True)
class Picture:
    """A grid of samples, which moves if they are clips."""

    source: Path
    sha256: str
    width: int
    height: int
    vouched: bool  # whether the record has its sha256; older records have none
    moves: bool

    @property
    def href(self) -> str:
        """Its copy, from the site's root: named by content, so that equal ones are one."""
        return f"samples/{self.sha256[:32]}.png"

    @property
    def still_href(self) -> str:
        """Beside it, what a person sees of it who wants no motion."""
        return f"samples/{self.sha256[:32]}-still.png"

    def files(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """What it is on the site: name, and what reads the content."""
        yield self.href, self.source.read_bytes
        if self.moves:
            yield self.still_href, lambda: still(self.source.read_bytes())


def find_pictures(records: Iterable[Record], folder: Path | None) -> dict[str, Picture]:
    """Run id -> picture, of those that have one in ``folder/<track>/<run-id>.png``.

    What is no picture by the rule of `png`, not the one that the record vouches for, or of a name that two records
    share, is left out.
    """
    if folder is None:
        return {}
    by_id: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_id[record.run_id].append(record)
    found = {run_id: _picture(same[0], folder) for run_id, same in by_id.items() if len(same) == 1}
    return {run_id: picture for run_id, picture in found.items() if picture}


def _picture(record: Record, folder: Path) -> Picture | None:
    path = folder / record.track.name / f"{record.run_id}.png"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
        return None
    content = path.read_bytes()
    sha256, said = hashlib.sha256(content).hexdigest(), record.files.get(GRID_FILE)
    if said not in (None, sha256) or fault(content, clips=record.track.data.frames > 1):
        return None
    width, height = size_of(content)
    return Picture(path, sha256, width, height, said is not None, moves(content))
