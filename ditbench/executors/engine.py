"""What a command asks of an executor, and what an executor answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from ..errors import BadValue
from ..records.facts import Environment
from ..records.record import Record
from ..runtime.progress import Progress, ProgressCallback
from ..tracks.config import RunConfig
from .jobs import Job


class Listener(Protocol):
    """Who hears of the runs while they go."""

    def started(self, config: RunConfig) -> None: ...

    def progress(self, config: RunConfig, progress: Progress) -> None: ...


LARGEST = 1_000_000  # of an executor's numbers: minutes, GPUs, cores, GB


@dataclass(frozen=True)
class Wishes:
    """What a command asks of its executor, beside the runs: its folder, and `ditbench.tracks.options.EngineOptions`."""

    folder: Path  # of the track's runs: <out>/<track>
    processes: int = 1
    shard: bool = False
    parallel: int | None = None
    address: str = ""
    options: Sequence[str] = ()
    wait: bool = False
    dry_run: bool = False

    def only(self, executor: str, *known: str) -> None:
        """`BadValue` for a wish that the executor does not know."""
        for wish in fields(self):
            asked = getattr(self, wish.name)
            if wish.name not in ("folder", *known) and asked != wish.default and asked != []:
                raise BadValue(f"The executor {executor!r} has no `{wish.name}`; see `ditbench list executors`.")


def options_of(wishes: Wishes, known: Mapping[str, Callable[[str], Any]], free: bool = False) -> dict[str, Any]:
    """The executor's options by name, each as its type; with `free`, others stay text. `BadValue` for what is wrong."""
    found: dict[str, Any] = {}
    for option in wishes.options:
        key, equals, value = option.partition("=")
        if not key or not equals:
            raise BadValue(f"`options` {option!r} is not KEY=VALUE, such as gpus=1.")
        if key not in known and not free:
            raise BadValue(f"`options` {option!r}: there is no {key!r}, only {', '.join(known)}.")
        kind = known.get(key, str)
        try:
            found[key] = kind(value)
        except ValueError:
            raise BadValue(f"`options` {option!r}: {value!r} is no {kind.__name__}.") from None
        if kind is not str and not 0 <= found[key] <= LARGEST:  # nor NaN
            raise BadValue(f"`options` {option!r}: choose from 0 to {LARGEST:,}.")
    return found


@dataclass(frozen=True)
class Ready:
    """A run that has been checked where it will be: it has its device and its data, and is given this of a machine."""

    config: RunConfig
    environment: Environment
    macs: int = 0  # of a training step; 0: not known


class Engine(Protocol):
    """Where the runs of one command happen; what `components.Executor.make` returns for the command's `Wishes`."""

    waits_for_others: bool  # for runs that another command is at already; if not, the campaign refuses them

    def preflight(self, configs: Sequence[RunConfig], hear: ProgressCallback) -> list[Ready]:
        """Resolve every part of every run where the runs will be, and say what each is given there, in their order.

        Raises the first `DitbenchError`.
        """
        ...

    def execute(self, jobs: Sequence[Job], listener: Listener) -> Iterator[Record]:
        """One record per job as they end, whatever happened to the run."""
        ...
