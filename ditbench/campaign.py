"""One command: plan, skip what is done, execute, write tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from .builtins import REFERENCE_ARCHITECTURES
from .components import load
from .errors import BadValue, DitbenchError, NoRecordsYet, NoTables
from .executors import torchrun
from .executors.engine import Engine, Wishes
from .executors.jobs import Job
from .executors.listeners import Silent, Together
from .executors.local import Here
from .executors.slurm_queue import refuse_queued
from .executors.trackers import start
from .extras import require_run
from .leaderboard.build import write_run_tables
from .metrics.weights import has_weights, require_weights
from .records.facts import Environment
from .records.record import Record, read_runs
from .records.search import study_of
from .records.search import told as told_of
from .registry import Registry, pick
from .storage.claims import refuse_held
from .storage.files import Unwritable, exists, make_writable
from .tracks.config import RunConfig
from .tracks.lookup import extractors_of
from .tracks.options import CampaignOptions, EngineOptions, RunOptions, only, takes
from .tracks.plan import find_dataset, make_plan
from .tracks.points import draw
from .tracks.search import Point
from .tracks.settings import check_options
from .tracks.threads import has_one_thread
from .tracks.track import Track
from .tracks.tuning import trial_of, tuned


@takes(CampaignOptions)
def run(
    track: str = "digits",
    architectures: Sequence[str] = REFERENCE_ARCHITECTURES,
    seeds: Sequence[int] = (0,),
    *,
    listener: Silent | None = None,
    **options: Unpack[CampaignOptions],
) -> list[Record]:
    """Benchmark architectures on a track and return one record per architecture and seed.

    Finished runs are skipped and interrupted ones resumed, so calling again is free. A run that fails has a
    record that says so. Raises `DitbenchError` for any mistake in the arguments, before training, and where no record
    can be written, as on a full disk; `ditbench.errors.NoTables`, which has the records, where the tables can't be; and
    `ditbench.errors.NoRecordsYet` where runs are submitted to Slurm and nobody waits for them.
    Under the tuned ruleset every architecture's trials come first; one whose search is not done, or in which no trial
    finished, has the records of the trials that did not finish in place of its runs'.
    Under torchrun, the processes other than rank 0's carry out what it says, and get no records.
    Runs are processes of their own, which do not run the script that calls this: it needs no ``__main__`` guard.

    Args:
        track: name of the track, e.g. ``"digits"``, or its file.
        architectures: selections ``name[:size][+option=value]...``.
        seeds: distinct whole numbers; each is a run of its own.
        listener: hears of the runs while they go.
    """
    require_run("`ditbench.run`")
    asked = (track, architectures, seeds)
    return carry_out(lambda registry: make_plan(registry, *asked, **only(RunOptions, options)), listener, options)


def carry_out(
    make: Callable[[Registry], list[RunConfig]], listener: Silent | None, options: CampaignOptions
) -> list[Record]:
    """The same for a plan of runs of one track, which `make` gives; `options` are all of them, as `run` has them.

    The runs may have several budgets of one unit.
    """
    check_options(CampaignOptions, options)
    if options["out"] == "":
        raise BadValue("`out` '' is empty: name a folder, or '.' for this one.")
    if torchrun.launched():
        options["executor"] = torchrun.instead_of(options["executor"])
    if torchrun.follows():
        for _ in range(2 if options["ruleset"] == "tuned" else 1):  # the trials, then the runs
            torchrun.follow()
        return []
    registry = Registry.installed(strict=options["strict"])
    (listener := listener or Silent()).left_out(registry.faults)  # before a name that one of them has is missed
    chosen = pick("executor", options["executor"], registry.executors)
    plan = make(registry)
    if options["shard"] and any(config.recipe.optimizer == "muon" for config in plan):
        raise BadValue("The optimizer 'muon' needs whole matrices, and `shard` divides them: leave out `shard`.")
    rehearsal = find_dataset(registry, plan[0].track, options["data"])[0].name == "synthetic"  # nothing is measured
    points = _points(plan[0].track, rehearsal, options)
    folder = Path(options["out"]).absolute() / plan[0].track.name  # a plugin may change the working directory
    engine: Engine = load(chosen.make)(Wishes(folder, **only(EngineOptions, options)))
    if isinstance(engine, Here):
        engine.refuse_at_once(plan)
    trackers = Together(*start(options["log"]))
    hearing = Together(listener, trackers)
    try:
        _check_room(plan, folder, read_runs(folder))
        make_writable(folder, claimed=True)
        needed = [] if rehearsal else extractors_of(plan[0].track, registry)
        _fetch_weights(needed, registry, options["offline"], hearing)
        hearing.preparing()
        jobs = _prepare(plan, engine, hearing, folder, options)
        if points:
            return _searched(plan, points, jobs, engine, hearing, folder, options)
        return _execute(jobs, engine, hearing, folder)
    finally:
        trackers.close()


def _points(track: Track, rehearsal: bool, options: CampaignOptions) -> tuple[Point, ...]:
    """Of the search that the tuned ruleset makes; none under another."""
    if options["ruleset"] != "tuned":
        return ()
    if rehearsal:
        raise BadValue("`data` synthetic is noise, of which nothing is measured: no trial could be chosen.")
    return draw(track, options["trials"])


def _searched(
    plan: Sequence[RunConfig],
    points: Sequence[Point],
    jobs: Sequence[Job],
    engine: Engine,
    listener: Silent,
    folder: Path,
    options: CampaignOptions,
) -> list[Record]:
    """Under the tuned ruleset: every architecture's trials, then the runs with what its search has chosen.

    Of one whose trials did not all end, or of which none finished, the records of those that did not finish.
    """
    first = {job.config.label: job for job in reversed(jobs)}  # of each architecture, in any seed
    trials = {label: [_as_trial(first[label], point, folder) for point in points] for label in _labels(plan)}
    of_all = [job for of in trials.values() for job in of]
    try:
        found = {record.run_id: record for record in _execute(of_all, engine, listener, folder)}
    except NoRecordsYet as told:
        more = "" if options["dry_run"] else f"\n{_THEN}"
        raise NoRecordsYet(f"{told}{more}", interrupted=told.interrupted) from None
    ended = {label: [found[job.config.run_id] for job in of] for label, of in trials.items()}
    space = plan[0].track.search
    assert space is not None  # `make_plan`
    studies = {label: study for label, of in ended.items() if (study := study_of(space, points, of))}
    for label, study in studies.items():
        listener.searched(told_of(study, label))
    runs = [tuned(config, studies[config.label]) for config in plan if config.label in studies]
    done = _execute(_prepare(runs, engine, listener, folder, options) if runs else [], engine, listener, folder)
    without = [record for label, of in ended.items() if label not in studies for record in of]
    return [*done, *(record for record in without if record.status != "finished")]


_THEN = "These are the trials of the search. When they have ended, the same command chooses, and goes on with the runs."


def _labels(plan: Sequence[RunConfig]) -> list[str]:
    """The architectures of a plan, each once."""
    return list(dict.fromkeys(config.label for config in plan))


def _as_trial(job: Job, point: Point, folder: Path) -> Job:
    """A trial for the runs of a job: nothing else of it needs to be checked."""
    config = trial_of(job.config, point)
    return replace(job, config=config, directory=folder / config.run_id)


def _prepare(
    plan: Sequence[RunConfig], engine: Engine, listener: Silent, folder: Path, options: CampaignOptions
) -> list[Job]:
    """The runs as jobs, checked where they will be, or a `DitbenchError`."""
    return [
        Job(
            config=run.config,
            directory=folder / run.config.run_id,
            environment=run.environment,
            fresh=options["force"],
            processes=run.environment.processes,
            shard=options["shard"],
            macs=run.macs,
        )
        for run in engine.preflight(plan, listener.checking)
    ]


def _check_room(plan: Sequence[RunConfig], folder: Path, done: Sequence[Record]) -> None:
    """`BadValue` if the samples alone can't fit the disk; checkpoints and weights come on top.

    Of what is done in that folder, any may be a run of the plan that needs no more room.
    """
    left = len(plan) - sum(record.status == "finished" for record in done)
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if exists(place))
    samples, config = plan[0].track.evaluation.samples, plan[0]
    at_work = 1 + len(config.eval_at) + config.raw_weights  # sets that a run has until all are measured
    kept = at_work + (max(0, left - 1) if config.keep_samples else 0)
    each, disk = kept * plan[0].track.image_bytes, shutil.disk_usage(there)
    free = disk.free
    if left > 0 and disk.total and samples * each > free:  # some file systems don't tell their size
        raise BadValue(
            f"{samples:,} samples take {samples * each / 2**30:,.1f} GiB, and {str(folder)!r} has {free / 2**30:,.1f} "
            f"GiB left, enough for {free // each:,}; give fewer `samples`."
        )


def _refuse_busy(jobs: Sequence[Job]) -> None:
    """`RunBusy` if another command is at one of the runs, here or by Slurm."""
    refuse_queued(jobs)
    refuse_held(job.directory for job in jobs)


def _execute(jobs: Sequence[Job], engine: Engine, listener: Silent, folder: Path) -> list[Record]:
    """The records of all jobs, in their order; the tables are written whatever happens. `NoTables` if they can't be."""
    if not engine.waits_for_others:
        _refuse_busy(jobs)
    records = {job.config.run_id: record for job in jobs if (record := job.settled()) is not None}
    for job in jobs:
        if job.config.run_id in records:
            job.check_way(records[job.config.run_id])
    anew = {job.config.run_id for job in jobs}  # one whose record is damaged has been refused, but for `force`
    for told in _finished_elsewhere(jobs, read_runs(folder, listener.passing_over, anew)):
        listener.repeating(told)
    if jobs:
        listener.planned(jobs, list(records.values()))
    waiting = [job for job in jobs if (done := records.get(job.config.run_id)) is None or job.lacks(done)]
    try:
        for record in engine.execute(waiting, listener):
            records[record.run_id] = record
            listener.ended(record)
    except BaseException:
        with suppress(DitbenchError):  # what has happened before is the news
            write_run_tables(read_runs(folder), folder)
        raise
    found = [records[job.config.run_id] for job in jobs]
    try:
        write_run_tables(read_runs(folder), folder)
    except Unwritable as error:
        raise NoTables(str(error), found) from None
    return found


def _finished_elsewhere(jobs: Sequence[Job], found: Sequence[Record]) -> list[str]:
    """In a line for each class of hardware: how many of the runs are finished on it, and how to take these up."""
    known = {record.run_hash: record.environment for record in found if record.status == "finished"}
    others = {environment.hardware: environment for environment in known.values() if environment is not None}
    lines = []
    for hardware, there in others.items():
        now = [job for job in jobs if job.config.hardware != hardware and job.config.hash not in known]
        again = [job for job in now if job.config.model_copy(update={"hardware": hardware}).hash in known]
        for small in (True, False):
            alike = [job for job in again if has_one_thread(job.macs or None) == small]
            if alike:
                are = "is" if len(alike) == 1 else "are"
                how = _otherwise(there, alike[0].environment, small)
                lines.append(f"{len(alike)} of these runs {are} finished already, but {how}")
    return lines


def _otherwise(there: Environment, here: Environment, small: bool) -> str:
    """What keeps a run that was finished there from being taken up here."""
    if there.threads == here.threads or there.model_copy(update={"threads": here.threads}).hardware != here.hardware:
        return f"on {there.hardware}. This is {here.hardware}, where they are runs of their own."
    theirs, ours = (f"{n} thread{'s' if n > 1 else ''}" for n in (there.threads, here.threads))
    if small:
        return f"with {theirs} each. Runs as small as these have {ours} now, and are runs of their own."
    return (
        f"with {theirs} each. Here they have {ours} and are runs of their own; "
        f"OMP_NUM_THREADS={there.threads * here.parallel} takes up the finished ones."
    )


def _fetch_weights(extractors: Sequence[str], registry: Registry, offline: bool, listener: Silent) -> None:
    """Have the extractors' weights here before any work; a `DitbenchError` if they can't be."""
    for name in extractors:
        extractor = registry.extractors[name]
        if not offline and not has_weights(extractor):
            listener.fetching(extractor)
        require_weights(extractor, offline)
