"""The search that stands in a run's record, made again: its points, its trials' names, its choice and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import pydantic

from ...storage.schema import first_fault
from ...tracks.ledger import shipped
from ...tracks.points import SAMPLER, SAMPLER_SEED
from ...tracks.search import CHOOSES, SEED, Study
from ...tracks.tuning import trial_of
from ..record import Record, config_of
from ..search import costs, lowest, trial_facts
from .faults import Faults, differs
from .known import Known


def search_of(record: Record, known: Known) -> Faults:
    """All of a study that follows from the record, and that its space is the track's."""
    study = record.study
    if study is None:
        return
    yield from differs("study.space", _dumped(study.space), _dumped(record.track.search), "the track's search")
    if (ours := shipped(record.track)) is not None:
        why = f"as {ours.name} v{ours.version} has it"
        yield from differs("track.search", _dumped(record.track.search), _dumped(ours.search), why)
    yield from differs("study.sampler", study.sampler, SAMPLER)
    yield from differs("study.sampler_seed", study.sampler_seed, SAMPLER_SEED)
    yield from differs("study.seed", study.seed, SEED, "that of every trial")
    yield from differs("study.chosen", study.chosen, lowest(study.trials), "the trial with the lowest value")
    for name, should in zip(("seconds", "flops"), costs(study.trials), strict=True):
        yield from differs(f"study.{name}", getattr(study, name), should, "the sum over its trials")
    yield from _points(record, study, known)
    yield from _trials(record, study)
    yield from _metric(record, study)


def _dumped(part: pydantic.BaseModel | None) -> dict[str, object] | None:
    return None if part is None else part.model_dump(mode="json", exclude_none=True)


def _points(record: Record, study: Study, known: Known) -> Faults:
    """They follow from the space and their number, where Optuna is installed to draw them."""
    track = record.track.model_copy(update={"search": study.space})
    points = known.points(track, len(study.trials)) or (study.space.own(track.recipe), *study.points[1:])
    for i, (says, should) in enumerate(zip(study.points, points, strict=True)):
        yield from differs(f"study.trials.{i}.point", _dumped(says), _dumped(should), "of the quasi-random sequence")


def _trials(record: Record, study: Study) -> Faults:
    """Each is the run that its point makes of this one, and has numbers if it finished."""
    for i, trial in enumerate(study.trials):
        numbers = (trial.value, trial.seconds, trial.flops)
        if (None in numbers) if trial.status == "finished" else any(number is not None for number in numbers):
            yield f"study.trials.{i} is {trial.status}, should have value, seconds and flops if it finished, else none"
        if any(number is not None and number < 0 for number in numbers):
            yield f"study.trials.{i} has a number below 0, which no error and no cost is"
        try:
            run_id = trial_of(config_of(record), trial.point).model_copy(update={"hardware": trial.hardware}).run_id
        except pydantic.ValidationError as error:
            yield f"study.trials.{i}.point gives no recipe: {first_fault(error)}"
            continue
        yield from differs(f"study.trials.{i}.run_id", trial.run_id, run_id, "the run that its point makes of this one")


def _metric(record: Record, study: Study) -> Faults:
    """It is the one by which trials are chosen, of as many images."""
    measured = next((one.protocol for one in record.metrics if one.metric == CHOOSES), None)
    if measured is not None:
        yield from differs("study.metric", study.metric, measured, "as the run itself was measured")


def trials_beside(record: Record, trials: Mapping[str, Record]) -> Faults:
    """Where the records of its trials are known, by run id: they say what its study says of them."""
    for i, says in enumerate(record.study.trials if record.study else ()):
        if (found := trials.get(says.run_id)) is not None:
            should = trial_facts(says.point, found)
            yield from differs(f"study.trials.{i}", _dumped(says), _dumped(should), "by that trial's own record")
