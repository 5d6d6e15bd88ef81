"""Record: the result of one run, as JSON that explains itself without the repository."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from ..errors import BadFile, DitbenchError, demand
from ..storage.files import is_folder, write_text
from ..storage.schema import (
    Count,
    Frozen,
    Hash,
    Name,
    Sha256,
    Sha256OrEmpty,
    TooNew,
    Words,
    digest,
    later,
    read_checked,
)
from ..tracks.architecture import ArchitectureFacts
from ..tracks.budget import FlopsRule
from ..tracks.config import Ruleset, RunConfig
from ..tracks.recipe import ObjectiveChoice, Recipe
from ..tracks.search import SEED, Study
from ..tracks.speedrun import Changed
from ..tracks.track import Track
from .denoising import Denoising
from .facts import (
    Cost,
    DataFacts,
    Environment,
    Measurement,
    Memory,
    Milestone,
    Person,
    RawWeights,
    SamplingFacts,
    Status,
    TrainingFacts,
)
from .files import FILE_NAME, record_files, run_files
from .fingerprint import Fingerprint
from .migrations import upgrade_record


class Submission(Frozen):
    """Who put a record forward, and where its weights are for others to measure."""

    by: Person
    date: date
    weights: Annotated[str, Field(pattern=r"^https://\S{1,500}$")] | None = None  # of the file in `files`


class Record(Frozen):
    """One run. Immutable once finished, but for what is asked for later and adds to it."""

    schema_version: Literal[3] = 3
    sha256: Sha256 | None = None  # of all else as JSON; set when the record is written
    run_id: Name
    run_hash: Hash
    status: Status
    reason: str | None = None  # why the run did not finish, in one line
    created: datetime
    track: Track
    track_hash: Hash
    ruleset: Ruleset
    recipe: Recipe  # the track's, or with what the architecture's paper changes
    objective: ObjectiveChoice
    study: Study | None = later(None)  # the search that chose the recipe, under the tuned ruleset
    changed: Changed = later("")  # what is new in the recipe, in words, under the speedrun ruleset
    deviations: list[str] = []  # why the run is not ranked: what is not as its track says
    budget: Words
    flops_rule: FlopsRule = later(1)  # by which its FLOPs are counted
    data_sha256: Sha256OrEmpty  # of the examples, their labels and the classes' names; empty: never opened
    reference_sha256: Sha256OrEmpty  # of what samples are compared with; empty: with nothing
    seed: Count
    device: Words
    architecture: ArchitectureFacts
    environment: Environment | None = None
    cost: Cost | None = None
    training: TrainingFacts | None = None
    sampling: SamplingFacts | None = None
    memory: Memory | None = None
    data: DataFacts | None = None
    fingerprint: Fingerprint | None = later(None)  # None: the record is older, or the run did not finish
    metrics: list[Measurement] = []
    left_out: list[str] = []  # why the track's metrics could not be measured
    denoising: Denoising | None = later(None)  # the curves behind metrics that see the denoiser, where there are any
    floors: list[Measurement] = []  # the same metrics of held-out images, or between random halves of the real ones
    milestones: list[Milestone] = []  # the same metrics on the way, where that was asked for
    raw: RawWeights | None = None
    files: dict[Name, Sha256] = {}  # what the run left beside its record: the weights measured, the grid of samples
    submission: Submission | None = None

    @property
    def hardware(self) -> str:
        """How many of which class of hardware, whose runs alone share speeds; empty if the record does not say."""
        of = self.environment
        return "" if of is None else f"{of.processes} x {of.hardware}" if of.processes > 1 else of.hardware

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Record:
        if self.track_hash != self.track.hash:
            raise ValueError(f"track_hash is {self.track_hash} but the track hashes to {self.track.hash}")
        whole = (self.environment, self.cost, self.training, self.sampling, self.memory, self.data)
        if self.status == "finished" and None in whole:
            raise ValueError("a finished run needs environment, cost, training, sampling, memory and data")
        found = [measurement.metric for measurement in self.metrics]
        asked = [metric for metric, _ in self.track.evaluation.choices]
        if fault := _of_its_ruleset(self):
            raise ValueError(fault)
        if self.left_out and (found or not self.deviations):
            raise ValueError("only a run that deviates from its track may leave its metrics out, and then all of them")
        if self.status == "finished" and not self.left_out and found != asked:
            raise ValueError(f"a finished run needs its track's metrics, not {', '.join(found) or 'none'}")
        if self.status != "finished" and not self.reason:
            raise ValueError("a run that did not finish needs its reason")
        return self


def _of_its_ruleset(record: Record) -> str:
    """What of its recipe, its objective or its search is not as its ruleset says; empty if all is."""
    of, study, meant = record.ruleset, record.study, record.track.recipe
    if study is None and of == "tuned":
        return "a run of the tuned ruleset needs its study: the search that chose its recipe"
    if study is not None and of != "tuned":
        return "a study is of the tuned ruleset alone"
    if study is not None:
        meant = study.best.point.recipe(meant)
    if of in ("matched", "tuned") and record.recipe.learns != meant.learns:
        whose = "is the one that its study has chosen" if study else "and objective are the track's"
        return f"under the {of} ruleset recipe {whose}"
    if record.changed and of != "speedrun":
        return "changed is of the speedrun ruleset alone"
    if of == "speedrun":
        return _of_a_speedrun(record)
    if of != "native" and record.objective != record.track.objective:
        return f"under the {of} ruleset recipe and objective are the track's"
    if of in ("tuned", "trial") and (record.seed == SEED) != (of == "trial"):
        return f"seed {SEED} is that of a search's trials, and of no run that stands in a row"
    return ""


def _of_a_speedrun(record: Record) -> str:
    """What of it is not free, and not as its track says; empty if all is."""
    asked, recipe, meant = record.track.speedrun, record.recipe, record.track.recipe
    if asked is None:
        return "a run of the speedrun ruleset needs a track that declares a speedrun"
    if record.architecture.label != asked.network:
        return f"the speedrun is of {asked.network}, and the run of {record.architecture.label}"
    if (recipe.precision, recipe.compile) != (meant.precision, meant.compile):
        return "under the speedrun ruleset precision and compile are the track's"
    if record.objective.name != record.track.objective.name:
        return "under the speedrun ruleset the objective is the track's, with any settings"
    return "" if record.changed else "a run of the speedrun ruleset says in words what is new in its recipe"


OF_THE_RUN = (  # what a config and its record both say, by one name
    "track", "ruleset", "recipe", "objective", "study", "changed", "budget", "flops_rule", "seed", "device",
    "data_sha256", "reference_sha256",
)  # fmt: skip


def identity(config: RunConfig) -> dict[str, Any]:
    """The fields of a run's record that are known before it starts."""
    return {
        **{name: getattr(config, name) for name in OF_THE_RUN},
        "run_id": config.run_id,
        "run_hash": config.hash,
        "created": datetime.now(UTC).replace(microsecond=0),
        "track_hash": config.track.hash,
        "deviations": list(config.deviations),
        "architecture": config.built,
    }


def config_of(record: Record) -> RunConfig:
    """The run that a record says it is of: `RunConfig.hash` of it is the record's `run_hash`."""
    return RunConfig(
        **record.architecture.of_run,
        **{name: getattr(record, name) for name in OF_THE_RUN},
        hardware=record.environment.hardware if record.environment else "",
        deviations=tuple(record.deviations),
        eval_at=tuple(milestone.at for milestone in record.milestones),
    )


_OF_CODE = {"distribution_version": "", "source_sha256": "", "libraries": ()}  # what of a run its network's code is


def row_hash(record: Record, whatever_code: bool = False) -> str:
    """What the runs of a row share, whatever their seeds, the hardware and what of the network was compiled there.

    Empty if the record describes no run. whatever_code: and whatever the version of the plugin, its source and its
    libraries.
    """
    code = _OF_CODE if whatever_code else {}
    recipe = record.recipe.model_copy(update={"compile": record.track.recipe.compile})
    try:
        return config_of(record).model_copy(update={"seed": 0, "hardware": "", "recipe": recipe, **code}).hash
    except pydantic.ValidationError:
        return ""


def seal(content: dict[str, Any]) -> str:
    """sha256 of a record as JSON gives it, but for the field that holds this sha256."""
    return digest({name: value for name, value in content.items() if name != "sha256"})


def write_record(record: Record, path: Path) -> Record:
    """Write the record atomically, with its sha256, and return it so: `read_record` gives it back equal."""
    sealed = record.model_copy(update={"sha256": seal(record.model_dump(mode="json"))})
    write_text(path, sealed.model_dump_json(indent=1) + "\n")
    return sealed


def read_record(path: str | Path) -> Record:
    """Read and check a record, also one of an older version; `BadFile` names the file and the field."""
    demand("path", path, str, Path)
    return read_checked(Record, Path(path), upgrade_record)


def read_records(folder: Path, leave_out: Callable[[str], object] | None = None) -> list[Record]:
    """Every record below a folder, committed or of runs, and no other JSON.

    What `files.record_files` finds by its name, that is: a run that has no record yet is none. `BadFile` names the
    first that is wrong; or those that are wrong are left out, and `leave_out` hears a line of each.
    """
    if not is_folder(folder):
        raise BadFile(f"The records folder {str(folder)!r} does not exist.")
    if leave_out is None:
        return [read_record(path) for path in record_files(folder)]
    return list(_sound(record_files(folder), leave_out))


def read_runs(
    folder: Path, leave_out: Callable[[str], object] = lambda told: None, anew: Collection[str] = ()
) -> list[Record]:
    """The records of a track's run directories.

    What is wrong is left out, and `leave_out` hears a line of each, but of the runs in `anew`, which lose theirs.
    """
    return list(_sound(run_files(folder), leave_out, anew))


def _sound(paths: Iterable[Path], leave_out: Callable[[str], object], anew: Collection[str] = ()) -> Iterator[Record]:
    for path in paths:
        try:
            yield read_record(path)
        except BadFile as error:
            if path.parent.name not in anew:
                leave_out(left_out(path, error))


def left_out(path: Path, error: DitbenchError) -> str:
    """What is told of a record that can't be read, where those beside it are."""
    return f"Left out: {error}{way_out(path, error)}"


def way_out(path: Path, error: DitbenchError) -> str:
    """What helps against a run's record that can't be read, as a sentence more; nothing where the error says it."""
    if path.name != FILE_NAME or isinstance(error, TooNew):
        return ""
    run = path.parent.absolute()
    return f" `ditbench runs remove {shlex.quote(run.name)} --runs {shlex.quote(str(run.parent))}` removes that run."
