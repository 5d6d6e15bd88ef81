"""One command: plan, skip what is finished, execute the rest in turn, write the leaderboard."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .components import load
from .executors import Execute, Job, preflight
from .leaderboard import write_leaderboard
from .plan import make_plan
from .record import FILE_NAME, Record, read_record, read_records
from .registry import Registry, pick
from .storage import make_writable, sole_writer
from .track import RunConfig


class Silent:
    """A listener that says nothing; the base of those that say something."""

    def preparing(self) -> None:
        """Names are fine; now the libraries load and every part is checked."""

    def planned(self, jobs: Sequence[Job], finished: Sequence[Record]) -> None:
        """All runs of the command, and the records of those that are done already."""

    def started(self, config: RunConfig) -> None:
        """A run begins or resumes."""

    def progress(self, config: RunConfig, progress: Any) -> None:
        """A run reports a `ditbench.training.Progress`."""

    def ended(self, record: Record) -> None:
        """A run has its record."""


def run(
    track: str = "digits",
    architectures: Sequence[str] = ("dit", "uvit", "mdt", "diffit"),
    seeds: Sequence[int] = (0,),
    *,
    budget: str | None = None,
    device: str = "auto",
    out: str | Path = "runs",
    keep_samples: bool = False,
    checkpoint_seconds: float = 20.0,
    force: bool = False,
    strict: bool = False,
    executor: str = "process",
    listener: Silent | None = None,
) -> list[Record]:
    """Benchmark architectures on a track and return one record per architecture and seed.

    Args:
        track: name of the track, e.g. ``"digits"``.
        architectures: selections ``name[:size][+option=value]...``.
        seeds: distinct whole numbers; each is a run of its own.
        budget: ``"2000-steps"``, ``"50k-images"``, ``"90s"``; by default the track's.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        out: folder for ``<track>/<run-id>/`` and ``<track>/leaderboard.{md,csv}``.
        checkpoint_seconds: training time between two checkpoints.
        keep_samples: also write each run's samples as ``samples.npz``.
        force: start finished and interrupted runs over.
        strict: a faulty plugin is an error.
        executor: ``"process"`` (a clean process per run) or ``"inline"``.
        listener: hears of the runs while they go.

    Finished runs are skipped and interrupted ones resumed, so calling again is free. A run that fails has a
    record that says so. Raises `DitbenchError` for any mistake in the arguments, before training.
    A script that calls this needs the ``if __name__ == "__main__":`` guard, since runs are processes.
    """
    registry = Registry.installed(strict=strict)
    listener = listener or Silent()
    execute: Execute = load(pick("executor", executor, registry.executors).execute)
    plan = make_plan(registry, track, architectures, seeds, budget, device, keep_samples, checkpoint_seconds)
    folder = Path(out) / plan[0].track.name
    make_writable(folder)
    listener.preparing()
    jobs = [Job(config, folder / config.run_id) for config in preflight(plan)]
    for job in jobs:
        with sole_writer(job.directory):  # another command on the same run is found before any work
            if force:
                _empty(job.directory)
    records = {job.config.run_id: record for job in jobs if (record := _settled(job)) is not None}
    listener.planned(jobs, list(records.values()))
    waiting = [job for job in jobs if job.config.run_id not in records]
    try:
        for record in execute(waiting, listener):
            records[record.run_id] = record
            listener.ended(record)
    finally:
        write_leaderboard(read_records(folder), folder)
    return [records[job.config.run_id] for job in jobs]


def _settled(job: Job) -> Record | None:
    """The record of a run that need not run again: it finished, or its divergence would only repeat."""
    path = job.directory / FILE_NAME
    if not path.exists():
        return None
    record = read_record(path)
    wanted = job.config.keep_samples and not (job.directory / "samples.npz").exists()
    return record if record.status == "diverged" or (record.status == "finished" and not wanted) else None


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.name == ".lock":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
