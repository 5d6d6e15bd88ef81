"""A run's snapshots: power-function averages of its weights, as they were at shares of its budget, and what they make.

One safetensors file for each share, with the averages of all lengths, in float32: factors that make a short average are
large and of both signs, and would multiply float16's rounding.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import pydantic
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import BadFile, BadValue
from ..records.files import SNAPSHOTS
from ..records.lengths import Length
from ..storage.files import exists, make_folder, sweep, write_atomically
from ..storage.reading import check_file, reason_of
from ..storage.schema import Frozen, Hash, Positive, first_fault
from ..training.power import Combination, Profile, combine

_ABOUT = "ditbench"  # the metadata's key


class SnapshotFacts(Frozen):
    """What a snapshot is of."""

    run: Hash
    lengths: Annotated[tuple[Length, ...], Field(min_length=1)]
    time: Annotated[float, Field(gt=0, le=1)]  # the share of the budget that was used up
    steps: Positive


class Snapshot(NamedTuple):
    """One that lies in a run's directory."""

    path: Path
    facts: SnapshotFacts

    @property
    def profiles(self) -> list[Profile]:
        """What its averages are of."""
        return [Profile(length, self.facts.time) for length in self.facts.lengths]


def shares(count: int) -> list[float]:
    """Those of the budget at which so many are taken, the end among them."""
    return [number / count for number in range(1, count + 1)]


def prepare(directory: Path, count: int, each: int) -> None:
    """A folder for snapshots of so many bytes; `BadValue` if the disk has no room for those that are to come."""
    folder = directory / SNAPSHOTS
    make_folder(folder)
    sweep(folder)
    left, disk = max(0, count - len(list(_files(directory)))), shutil.disk_usage(folder)
    if disk.total and left * each > disk.free:  # some file systems don't tell their size
        raise BadValue(
            f"{left} snapshots of other averages take {left * each / 2**30:,.1f} GiB, and {directory.name!r} has "
            f"{disk.free / 2**30:,.1f} GiB left; give fewer `ema_snapshots`."
        )


def write_snapshot(directory: Path, at: float, tensors: Mapping[str, Tensor], facts: SnapshotFacts) -> None:
    """The averages at a share of the budget, by length and parameter: ``0.05/blocks.0.weight``."""
    about = {_ABOUT: facts.model_dump_json()}
    content = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    path = directory / SNAPSHOTS / _name(at)
    write_atomically(path, lambda temporary: save_file(content, temporary, about))


def snapshots_in(directory: Path, run_hash: str) -> list[Snapshot]:
    """A finished run's snapshots in the order in which they were taken. `BadFile` if they are none, or can't be its."""
    found = sorted(map(_read, _files(directory)), key=lambda one: one.facts.time)
    if not found:
        raise BadFile(
            f"{directory.name!r} has no snapshots of other averages: a run keeps them if it is asked for "
            "`ema_snapshots` from its beginning."
        )
    for one in found:
        if one.facts.run != run_hash:
            raise BadFile(f"The snapshot {str(one.path)!r} belongs to another run.")
    if found[-1].facts.time < 1:
        raise BadFile(f"{directory.name!r} lacks the snapshot of the end of its budget, {_name(1.0)!r}.")
    return found


def _name(at: float) -> str:
    return f"at-{100 * at:g}-percent.safetensors"


def _files(directory: Path) -> Iterator[Path]:
    folder = directory / SNAPSHOTS
    yield from sorted(folder.glob("at-*.safetensors")) if exists(folder) else ()


def _read(path: Path) -> Snapshot:
    check_file(path, "snapshot")  # the library would wait for a pipe
    try:
        with safe_open(path, "pt") as file:
            about, names = (file.metadata() or {}).get(_ABOUT, ""), list(file.keys())
        facts = SnapshotFacts.model_validate_json(about)
    except (OSError, SafetensorError) as error:
        raise BadFile(f"The snapshot {str(path)!r} can't be read: {reason_of(error)}.") from None
    except pydantic.ValidationError as error:
        raise BadFile(f"The snapshot {str(path)!r} does not say what it is of: {first_fault(error)}.") from None
    if {name.partition("/")[0] for name in names} != set(map(str, facts.lengths)):
        raise BadFile(f"The snapshot {str(path)!r} has not the averages that it says.")
    return Snapshot(path, facts)


def combination(snapshots: Sequence[Snapshot], length: float) -> Combination:
    """Of the snapshots' averages in their order, the one that stands for a relative length at the end of training."""
    return combine(Profile(length, 1.0), [profile for one in snapshots for profile in one.profiles])


def reconstruct(snapshots: Sequence[Snapshot], length: float, ema: Path, out: Path) -> None:
    """Write the average of a relative length at the end of training: weights, with all else as in the run's EMA file.

    The sum is in float64. `BadFile` if the snapshots are not of the file's network.
    """
    content, factors = load_file(ema), iter(combination(snapshots, length).factors)
    sums: dict[str, Tensor] = {}
    for one in snapshots:
        of_lengths = {str(average): next(factors) for average in one.facts.lengths}
        _add(sums, one.path, of_lengths)
    for name, tensor in sums.items():
        if name not in content or content[name].shape != tensor.shape:
            raise BadFile(f"{SNAPSHOTS!r} has {name!r}, which {ema.name!r} has not, or not in this shape.")
        content[name] = tensor.to(content[name].dtype)
    write_atomically(out, lambda temporary: save_file(content, temporary))


def _add(sums: dict[str, Tensor], path: Path, factors: Mapping[str, float]) -> None:
    """Add a snapshot's averages, by their lengths' factors, to the sums by parameter."""
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118  (it is no mapping)
            length, _, name = key.partition("/")
            found = factors[length] * file.get_tensor(key).double()
            if name in sums and sums[name].shape != found.shape:
                raise BadFile(f"The snapshot {str(path)!r} has {name!r} in another shape than the one before.")
            sums[name] = sums[name] + found if name in sums else found
