"""The search of an architecture's recipe: from the records of its trials to what its runs carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..tracks.points import SAMPLER, SAMPLER_SEED
from ..tracks.search import SEED, Point, Search, Study, Trial
from .record import Record


def study_of(space: Search, points: Sequence[Point], records: Sequence[Record]) -> Study | None:
    """What the trials found, which are the records in the order of their points.

    None while one of them has not ended, or if none of them finished: then there is nothing to choose.
    """
    if any(record.status == "interrupted" for record in records):
        return None
    trials = tuple(trial_facts(point, record) for point, record in zip(points, records, strict=True))
    measured = next((record.metrics[0].protocol for record in records if record.metrics), None)
    chosen = lowest(trials)
    if chosen is None or measured is None:
        return None
    seconds, flops = costs(trials)
    return Study(
        space=space,
        sampler=SAMPLER,
        sampler_seed=SAMPLER_SEED,
        metric=measured,
        seed=SEED,
        trials=trials,
        chosen=chosen,
        seconds=seconds,
        flops=flops,
    )


def lowest(trials: Sequence[Trial]) -> int | None:
    """The place of the trial with the lowest value, the first of several; None: no trial has one."""
    values = [(trial.value, place) for place, trial in enumerate(trials) if trial.value is not None]
    return min(values)[1] if values else None


def costs(trials: Iterable[Trial]) -> tuple[float, float]:
    """Seconds and FLOPs of the training of all trials that have theirs: of one that did not finish nobody knows."""
    known = [(trial.seconds, trial.flops) for trial in trials if trial.seconds is not None and trial.flops is not None]
    return sum(seconds for seconds, _ in known), sum(flops for _, flops in known)


def told(study: Study, label: str) -> str:
    """What a search chose and what it cost, in a sentence."""
    missed = [trial.status for trial in study.trials if trial.value is None]
    but = f" ({len(missed)} {'/'.join(sorted(set(missed)))})" if missed else ""
    which = "the track's own recipe" if study.chosen == 0 else f"trial {study.chosen + 1}"
    return (
        f"{label}: {which} of {len(study.trials)}{but}, {study.best.point.told}; "
        f"{study.flops / 1e12:,.3g} TFLOPs, {study.seconds:,.0f} s of training"
    )


def trial_facts(point: Point, record: Record) -> Trial:
    """What a study says of a trial that has ended."""
    done = record.training
    return Trial(
        point=point,
        run_id=record.run_id,
        hardware=record.environment.hardware if record.environment else "",
        status="failed" if record.status == "interrupted" else record.status,
        value=record.metrics[0].value if record.metrics else None,
        seconds=done.seconds if done else None,
        flops=done.flops if done else None,
    )
