"""One run as a job: what an executor is handed, and how it becomes a record.

This module imports no torch; the process that carries out a run does.
"""

from __future__ import annotations

import pkgutil
import shutil
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..components import ObjectReference, module_of
from ..errors import BadFile, BadValue, DitbenchError, RunBusy, brief, one_line
from ..records.facts import Environment, Status, Work
from ..records.files import FILE_NAME, SAMPLES_FILE, SNAPSHOTS
from ..records.record import Record, identity, read_record, way_out, write_record
from ..registry import Registry, pick
from ..runtime.clock import RunningClock
from ..runtime.progress import Diverged, Interrupted, Watch
from ..storage.claims import CLAIMS, Claim, sole_writer
from ..storage.files import cache_folder, exists, sweep, whole_path
from ..tracks.config import RunConfig
from ..tracks.lookup import extractors_of
from ..tracks.plan import find_dataset
from .apart import FILE, Failed, Killed, apart
from .stopwatch import Stopwatch

PROTOCOL = "ditbench.benchmark.run"  # what carries a run out, imported late
RESTARTS = 3  # of a run in several processes, after one of them was killed
PRELOAD = (PROTOCOL,)  # of runs' processes; pulls in torch and torch-fidelity
_OPTIMIZER = "torch._dynamo"  # every optimiser of torch loads it
LOG_FILE = "log.txt"  # what the run's process printed, and the traceback if it raised


@dataclass(frozen=True)
class Job:
    """One run, its directory, and the machine it runs on."""

    config: RunConfig
    directory: Path
    environment: Environment
    fresh: bool = False  # start over, whatever the directory holds
    processes: int = 1  # that train and sample together
    shard: bool = False  # weights and optimiser over them
    macs: int = 0  # of a training step; 0: not known

    @property
    def together(self) -> bool:
        """Whether it takes torch.distributed."""
        return self.processes > 1 or self.shard

    def settled(self) -> Record | None:
        """The record of a run that need not run again: it finished, or its divergence would only repeat.

        `BadFile` if its record can't be read.
        """
        path = self.directory / FILE_NAME
        if self.fresh or not exists(path):
            return None
        try:
            record = read_record(path)
        except BadFile as error:
            raise BadFile(f"{error}{way_out(path, error)} `force` starts it over.") from None
        return record if record.status in ("finished", "diverged") else None

    def check_way(self, record: Record) -> None:
        """`BadValue` if a finished run is asked for what only its training could have left: measurements, snapshots."""
        if record.status == "finished" and self.config.ema_snapshots and not exists(self.directory / SNAPSHOTS):
            raise BadValue(
                f"{record.run_id} is finished and kept no snapshots of other averages; leave out `ema_snapshots`, or "
                "train it again with `force`."
            )
        missing = set(self.config.eval_at) - {milestone.at for milestone in record.milestones}
        if record.status == "finished" and not record.left_out and missing:
            points = ", ".join(f"{at * 100:g}%" for at in sorted(missing))
            raise BadValue(f"{record.run_id} is finished and was not measured at {points}; `force` trains it again.")

    def lacks(self, record: Record) -> bool:
        """A finished run is asked for more than was kept of it: its samples, or what its raw weights score."""
        raw = self.config.raw_weights and record.raw is None
        return record.status == "finished" and (self.lacks_samples or raw)

    def stays(self, reason: str) -> str:
        """What is told of a finished run of which more was asked than could be had."""
        return f"{self.directory.name!r} stays as it finished; what more was asked of it failed: {reason}."

    @property
    def lacks_samples(self) -> bool:
        """Whether its samples are to be kept and are not there."""
        return self.config.keep_samples and not (self.directory / SAMPLES_FILE).exists()


def preload(configs: Sequence[RunConfig], registry: Registry) -> tuple[str, ...]:
    """What the processes of a plan's runs import, so that their server does it once; of plugins it imports nothing."""
    first = configs[0]
    track = first.track
    parts: list[ObjectReference] = [
        find_dataset(registry, track, first.data)[0].load,
        pick("sampler", track.sampler.name, registry.samplers).sample,
        *(pick("metric", metric, registry.metrics).measure for metric, _ in track.evaluation.choices),
        *(pick("extractor", extractor, registry.extractors).build for extractor in extractors_of(track, registry)),
    ]
    ours = (name for name in map(module_of, parts) if name.startswith(f"{PROTOCOL.partition('.')[0]}."))
    return tuple(dict.fromkeys([*PRELOAD, _OPTIMIZER, *ours]))


def _judged(job: Job, watch: Watch, work: Work) -> Record:
    about = (job.config, job.directory, job.environment, Registry.installed(), watch)
    return _late(PROTOCOL).judge(*about, work)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Hands:
    """Who does the two parts of a run, as `benchmark.run` has them."""

    work: Callable[[Job, Callable[[Watch], Work | None], Watch], Work | None]
    judge: Callable[[Job, Watch, Work], Record] = _judged


INLINE = Hands(lambda job, work, watch: work(watch))  # the work in this very process: for a debugger; protects nothing
APART = Hands(lambda job, work, watch: apart(work, job.directory, watch))  # in a process of its own


def carry_out(job: Job, watch: Watch, by: Hands = APART) -> Record:
    """Run one job to a written record: finished, failed, diverged or interrupted. `RunBusy` if it is another's.

    `by` has the work done, and measures what that leaves.
    """
    with sole_writer(job.directory) as claim:
        watch = _while_ours(claim, watch)
        if job.fresh:
            _empty(job.directory)
        sweep(job.directory)
        record = job.settled()
        if record is not None and not job.lacks(record):
            return record
        try:
            record = _run(job, watch, by) if record is None else _supplemented(job, watch, by, record)
        except BaseException as error:
            if record is not None and isinstance(error, Interrupted):
                return record
            # A finished run stays finished, whatever happens to what is asked for later. `RunBusy`: another has it.
            if record is not None and isinstance(error, Failed | Killed):
                raise DitbenchError(job.stays(str(error))) from None
            if record is not None or isinstance(error, RunBusy):
                raise
            record = unfinished(job, *_ending(error, job))
        claim.check()
        record = write_record(record, job.directory / FILE_NAME)
        if record.status == "finished":
            _late("ditbench.training.checkpoint").discard(job.directory)
            (job.directory / FILE).unlink(missing_ok=True)
    return record


def _run(job: Job, watch: Watch, by: Hands) -> Record:
    with RunningClock().watched() as clock:  # which, too, stands still while all processes are stopped
        stopwatch = Stopwatch(watch.report, clock)
        work = by.work(job, partial(_work, job), replace(watch, report=stopwatch.hear))
    if work is None or (doubt := stopwatch.doubt(work.training)):
        raise Failed("its process says nothing of its training" if work is None else doubt)
    record = by.judge(job, watch, work)
    if record.sampling is not None and (doubt := stopwatch.doubt_sampling(record.sampling)):
        raise Failed(doubt)
    return record


def _work(job: Job, watch: Watch) -> Work:
    return _late(PROTOCOL).work(job.config, job.directory, Registry.installed(), watch)  # type: ignore[no-any-return]


def _supplemented(job: Job, watch: Watch, by: Hands, record: Record) -> Record:
    by.work(job, partial(_draw_again, job, record), watch)
    about = (job.config, job.directory, job.environment, Registry.installed(), watch)
    return _late(PROTOCOL).supplement(*about, record)  # type: ignore[no-any-return]


def _draw_again(job: Job, record: Record, watch: Watch) -> None:
    ema, raw = job.lacks_samples, job.config.raw_weights and record.raw is None
    _late(PROTOCOL).draw_again(job.config, job.directory, Registry.installed(), watch, ema, raw)


def _late(module: str) -> Any:
    """A module that imports torch: only the process that carries out a run may ask for it."""
    return pkgutil.resolve_name(module)


def _while_ours(claim: Claim, watch: Watch) -> Watch:
    """The same watch; when the run is asked to stop or go on, `RunBusy` if the directory is another command's now."""

    def should_stop() -> bool:
        claim.check()
        return watch.should_stop()

    return replace(watch, should_stop=should_stop)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.name in (CLAIMS, LOG_FILE):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _ending(error: BaseException, job: Job) -> tuple[Status, str]:
    """How a run that raised has ended, and why, in one line without paths; a bug's traceback goes into its log."""
    text = one_line(error)
    known = (str(job.directory), job.config.data, job.config.reference, str(cache_folder()))
    for place in filter(None, known):
        whole = whole_path(place)
        for spelled in (str(whole), place if "/" in place else str(whole)):  # "." stands in many a sentence
            text = text.replace(spelled, whole.name)
    if isinstance(error, Diverged):
        return "diverged", text
    if isinstance(error, Interrupted | Killed | KeyboardInterrupt):
        return "interrupted", text or "stopped by Ctrl-C"
    if isinstance(error, Failed):  # its traceback is in the log
        return "failed", text
    log = job.directory / LOG_FILE
    with (
        suppress(OSError),
        log.open("a", encoding="utf-8", errors="backslashreplace") as log_file,
    ):  # the disk may be full
        traceback.print_exc(file=log_file)
    return "failed", text if isinstance(error, DitbenchError) else f"{type(error).__name__}: {text}"


def unfinished(job: Job, status: Status, reason: str) -> Record:
    """The record of a run that did not finish; of the reason what a person reads, in one line."""
    told = brief(one_line(reason))
    return Record(**identity(job.config), status=status, reason=told, environment=job.environment)


def recorded(job: Job, record: Record) -> Record:
    """Write a record that the run's process has not written; where another command goes on with the run, only tell it.

    `Unwritable` if there is no room for it.
    """
    with suppress(RunBusy), sole_writer(job.directory):
        return write_record(record, job.directory / FILE_NAME)
    return record


def write_failure(job: Job, reason: str) -> None:
    """Record that the run failed, unless it had an end of its own."""
    with sole_writer(job.directory):
        if replace(job, fresh=False).settled() is None:
            write_record(unfinished(job, "failed", reason), job.directory / FILE_NAME)
