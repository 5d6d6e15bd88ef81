"""What a command's runs came to, as its listener hears it: the answer of `ditbench run --json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..executors.jobs import LOG_FILE, Job
from ..executors.listeners import Silent
from ..leaderboard.boards import boards
from ..leaderboard.build import on_the_boards_of
from ..records.files import FILE_NAME
from ..records.record import Record, read_runs
from .answers.boards import board_answers
from .answers.runs import PlanFacts, RunAnswer, RunFacts, State
from .options import as_flags


class Heard(Silent):
    """Remembers the runs; under the tuned ruleset the trials, too, which come first."""

    def __init__(self, ruleset: str, dry_run: bool) -> None:
        self._ruleset = ruleset
        self._without: State = "planned" if dry_run else "submitted"  # of a run that has no record yet
        self._jobs: dict[str, Job] = {}
        self._before: dict[str, Record] = {}
        self._now: dict[str, Record] = {}

    def planned(self, jobs: Sequence[Job], settled: Sequence[Record]) -> None:
        self._jobs |= {job.config.run_id: job for job in jobs}
        self._before |= {record.run_id: record for record in settled}

    def ended(self, record: Record) -> None:
        self._now[record.run_id] = record

    def answer(self, message: str = "", next_steps: Sequence[str] = ()) -> RunAnswer:
        """All of it, with the boards that the runs are on."""
        jobs = list(self._jobs.values())
        found, folder = [*self._before.values(), *self._now.values()], jobs[0].directory.parent
        return RunAnswer(
            plan=_plan(jobs, folder, self._ruleset),
            runs=[self._facts(job) for job in jobs],
            boards=board_answers(boards(on_the_boards_of(found, read_runs(folder)))) if found else [],
            message=message,
            next=list(next_steps),
        )

    def _facts(self, job: Job) -> RunFacts:
        config, place = job.config, job.directory
        record = self._now.get(config.run_id) or self._before.get(config.run_id)
        log = place / LOG_FILE
        return RunFacts(
            label=config.label,
            seed=config.seed,
            ruleset=config.ruleset,
            run_id=config.run_id,
            folder=str(place),
            record=str(place / FILE_NAME) if record else None,
            state=self._state(record),
            reason=as_flags(record.reason or "") if record else "",
            log=str(log) if log.exists() else None,
            metrics={one.protocol: one.value for one in record.metrics} if record else {},
        )

    def _state(self, record: Record | None) -> State:
        if record is None:
            return self._without
        if record.status == "finished":
            return "done" if record.run_id in self._now else "skipped"
        return record.status


def _plan(jobs: Sequence[Job], folder: Path, ruleset: str) -> PlanFacts:
    config = jobs[-1].config
    runs = [job.config for job in jobs if job.config.ruleset != "trial"]
    return PlanFacts(
        track=config.track.name,
        version=config.track.version,
        hash=config.track.hash,
        ruleset=ruleset,
        budgets=list(dict.fromkeys(job.config.budget for job in jobs)),
        device=config.device,
        architectures=list(dict.fromkeys(job.config.label for job in jobs)),
        seeds=sorted({run.seed for run in runs}),
        seeds_for_a_rank=config.track.seeds_of(ruleset),
        folder=str(folder),
    )
