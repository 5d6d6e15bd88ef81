"""Trackers: what the command hears of its runs goes to TensorBoard or Weights & Biases, too.

A tracker listens in the command's own process; no run knows of it. Each comes with an extra of its name, imported when
it is asked for. What it is told is what the record says: no host, no user, no path.
"""

from __future__ import annotations

import json
import logging
import os
import pkgutil
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from pydantic_core import to_jsonable_python

from ..errors import BadFile, DitbenchError, one_line
from ..extras import install
from ..records.files import FILE_NAME, GRID_FILE
from ..records.record import Record, identity, read_record
from ..registry import pick
from ..runtime.progress import Progress
from ..storage.files import exists, write_text
from ..storage.reading import read_text
from ..tracks.config import RunConfig
from .jobs import Job
from .listeners import Silent

EVENTS_FOLDER = "tensorboard"
WANDB_FILE = "wandb.txt"  # the run's id at wandb: a resumed run goes on under it, one that starts over has none
_logger = logging.getLogger(__name__)


class TrackedRun(ABC):
    """One run at a tracker. Each method may raise whatever the tracker's library raises."""

    name: ClassVar[str]  # of the tracker, and of the extra that brings its library
    needs: ClassVar[tuple[str, ...]]  # what is used of the library, as `pkgutil.resolve_name` finds it

    @classmethod
    def library(cls) -> Any:
        """What is used of the library, by name. The first call imports it."""
        return SimpleNamespace(**{name.partition(":")[2]: pkgutil.resolve_name(name) for name in cls.needs})

    @classmethod
    def prepare(cls) -> None:
        """What must be done once, before any work; a `DitbenchError` if the tracker can't be used."""
        try:
            cls.library()
        except (ModuleNotFoundError, AttributeError):  # AttributeError: a mere folder of the library's name
            extra = install(f"ditbench[{cls.name}]")
            raise DitbenchError(f"`log` {cls.name} needs the extra: {extra}") from None
        except Exception as error:
            raise DitbenchError(f"`log` {cls.name}: its library can't be imported ({_described(error)}).") from None

    @abstractmethod
    def __init__(self, job: Job) -> None:
        """Take the run up, under its id, with what is known of it."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Scalars of a training step."""

    @abstractmethod
    def end(self, record: Record, grid: Path) -> None:
        """How it ended, its results and, if it finished, its grid of samples; nothing more will come."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more will come, and how it ended is not known."""


class Tracker(Silent):
    """Passes runs on to one tracker. If that breaks it is told once, and the runs go on without it."""

    def __init__(self, kind: type[TrackedRun]) -> None:
        self._kind = kind
        self._jobs: dict[str, Job] = {}
        self._runs: dict[str, TrackedRun] = {}
        self._broken = False

    def planned(self, jobs: Sequence[Job], settled: Sequence[Record]) -> None:
        self._jobs = {job.config.run_id: job for job in jobs}

    def progress(self, config: RunConfig, progress: Progress) -> None:
        if progress.stage == "train" and not self._broken:
            self._try(self._log, config.run_id, progress)

    def ended(self, record: Record) -> None:
        if not self._broken:
            self._try(self._end, record)

    def close(self) -> None:
        while self._runs:
            _, run = self._runs.popitem()
            self._try(run.close)

    def _run(self, run_id: str) -> TrackedRun:
        """The run at the tracker. It is taken up at its first news: by then one that starts over has lost its past."""
        if run_id not in self._runs:
            self._runs[run_id] = self._kind(self._jobs[run_id])
        return self._runs[run_id]

    def _log(self, run_id: str, progress: Progress) -> None:
        told = {"train/loss": progress.loss, "train/images_per_second": progress.images_per_second}
        self._run(run_id).log({name: value for name, value in told.items() if value is not None}, progress.step)

    def _end(self, record: Record) -> None:
        job = self._jobs[record.run_id]
        if record.run_id not in self._runs and not _is_written(record, job.directory):
            return  # another command holds the directory, and tells of the run itself
        self._run(record.run_id).end(record, job.directory / GRID_FILE)
        del self._runs[record.run_id]

    def _try(self, act: Callable[..., None], *about: object) -> None:
        try:
            act(*about)
        except Exception as error:
            if not self._broken:
                _logger.warning(
                    "the tracker %s broke, and the runs go on without it: %s", self._kind.name, _described(error)
                )
            self._broken = True


class TensorBoard(TrackedRun):
    """Event files in the run's directory, a new one each time the run is taken up."""

    name = "tensorboard"
    needs = (
        "PIL.Image:open",
        "tensorboard.compat.proto.event_pb2:Event",
        "tensorboard.compat.proto.event_pb2:SessionLog",
        "tensorboard.compat.proto.summary_pb2:Summary",
        "tensorboard.plugins.hparams.summary_v2:hparams_pb",
        "tensorboard.plugins.scalar.summary_v2:scalar_pb",
        "tensorboard.plugins.text.summary_v2:text_pb",
        "tensorboard.summary.writer.record_writer:RecordWriter",
    )

    def __init__(self, job: Job) -> None:
        self._library = self.library()
        folder = job.directory / EVENTS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        # Named and opened here, since tensorboard's own writer puts the host's name into the file's. They sort by time.
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}").open("xb")
        self._records = self._library.RecordWriter(self._file)
        self._step: int | None = None
        self._write(file_version="brain.Event:2")
        self._write(summary=self._library.hparams_pb(_flat(describe(job)), trial_id=job.config.run_id))

    def log(self, values: Mapping[str, float], step: int) -> None:
        if self._step is None:  # a killed run takes the steps after its checkpoint again, and those count
            start = self._library.SessionLog(status=self._library.SessionLog.START)
            self._write(step=step, session_log=start)
        self._step = step
        self._write_scalars(values, step)

    def end(self, record: Record, grid: Path) -> None:
        step = record.training.steps if record.training else self._step or 0
        self._write_scalars(results(record), step)
        if record.status == "finished" and grid.exists():
            self._write(step=step, summary=self._image("samples", grid))
        status = f"{record.status}: {record.reason}" if record.reason else record.status
        self._write(step=step, summary=self._library.text_pb("status", status))
        self.close()

    def close(self) -> None:
        self._file.close()

    def _write_scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._write(step=step, summary=self._library.scalar_pb(name, value))

    def _image(self, name: str, path: Path) -> Any:
        with self._library.open(path) as grid:
            width, height = grid.size
        summary = self._library.Summary
        image = summary.Image(width=width, height=height, encoded_image_string=path.read_bytes())
        return summary(value=[summary.Value(tag=name, image=image)])

    def _write(self, **event: Any) -> None:
        self._records.write(self._library.Event(wall_time=time.time(), **event).SerializeToString())
        self._records.flush()


class Wandb(TrackedRun):
    """A run of the project ``ditbench``, or of $WANDB_PROJECT. wandb's other variables have their say, too."""

    name = "wandb"
    needs = ("wandb:Image", "wandb:Settings", "wandb:init", "wandb:login", "wandb:setup")
    # Silent, or it would break the live display. It looks at nothing for itself: the record names machine and software
    # without host, user and path, and sampling the load would disturb what is timed.
    settings: ClassVar = {
        "silent": True,
        "console": "off",
        "host": "",
        "x_disable_machine_info": True,
        "x_disable_stats": True,
        "x_save_requirements": False,
        "finish_timeout": 60.0,  # seconds that a lost network may hold up the next run
        "finish_timeout_raises": True,
    }

    @classmethod
    def prepare(cls) -> None:
        """Log in, unless nothing is to leave the machine; on a terminal wandb asks for the key."""
        super().prepare()
        library = cls.library()
        if library.setup().settings.mode in ("offline", "disabled"):
            return
        try:
            library.login()
        except Exception as error:
            reason = one_line(error).rstrip(".")
            raise DitbenchError(f"`log` wandb: {reason}. With WANDB_MODE=offline it needs no login.") from None

    def __init__(self, job: Job) -> None:
        self._library = self.library()
        self._run = self._library.init(
            project=os.environ.get("WANDB_PROJECT", "ditbench"),
            group=job.config.track.name,
            name=job.config.run_id,
            id=_wandb_id(job.directory / WANDB_FILE),
            resume="allow",
            reinit="create_new",  # a caller's own run is left alone
            config=describe(job),
            settings=self._library.Settings(**self.settings),
        )
        self._run.define_metric("train/step")
        self._run.define_metric("train/*", step_metric="train/step")  # wandb's own step can't go back to a checkpoint

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({"train/step": step, **values})

    def end(self, record: Record, grid: Path) -> None:
        if record.status == "finished":
            picture = {"samples": self._library.Image(str(grid))} if grid.exists() else {}
            self._run.log({**results(record), **picture})
        self._run.summary.update({"status": record.status, "reason": record.reason or ""})
        self._run.finish(exit_code=0 if record.status == "finished" else 1)

    def close(self) -> None:
        self._run.finish(exit_code=1)


TRACKERS: Mapping[str, type[TrackedRun]] = {kind.name: kind for kind in (TensorBoard, Wandb)}


def start(names: Sequence[str]) -> list[Tracker]:
    """The trackers of these names, once each; a `DitbenchError` if one is unknown or can't be used."""
    kinds = {name: pick("tracker", name, TRACKERS) for name in names}
    for kind in kinds.values():
        kind.prepare()
    return [Tracker(kind) for kind in kinds.values()]


def describe(job: Job) -> dict[str, Any]:
    """What the run's record will say that is known before it starts, as nested plain values."""
    known = {**identity(job.config), "environment": job.environment}
    del known["created"]  # when the record is written
    return to_jsonable_python(known, exclude_none=True)  # type: ignore[no-any-return]


def results(record: Record) -> dict[str, float]:
    """Every metric by its full protocol, those of the raw weights below ``raw/``, and the cost."""
    raw = record.raw.metrics if record.raw else []
    cost = record.cost.model_dump(exclude_none=True) if record.cost else {}
    return {
        **{measurement.protocol: measurement.value for measurement in record.metrics},
        **{f"raw/{measurement.protocol}": measurement.value for measurement in raw},
        **{f"cost/{name}": value for name, value in cost.items()},
    }


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """Nested facts under dotted names, as TensorBoard's table of hyperparameters wants them; a list becomes text."""
    flat: dict[str, bool | float | str] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return flat


def _wandb_id(path: Path) -> str:
    """The id that the run's directory keeps, or a new one for it to keep; `BadFile` if it is none."""
    if not exists(path):
        write_text(path, secrets.token_hex(8) + "\n")
    found = read_text(path, "id of a run at wandb").strip()
    if not re.fullmatch(r"[0-9a-f]{16}", found):
        raise BadFile(f"{str(path)!r} holds no run's id at wandb. Remove it to begin a new run there.")
    return found


def _is_written(record: Record, directory: Path) -> bool:
    path = directory / FILE_NAME
    return path.exists() and read_record(path) == record


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
