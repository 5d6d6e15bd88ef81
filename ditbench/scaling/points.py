"""Runs of budgets in FLOPs as a study of scale sees them: what all share, and of each its size and its errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Annotated

from pydantic import Field

from ..errors import BadFile
from ..leaderboard.labels import of_any_size
from ..records.denoising import WEIGHTS
from ..records.record import Record
from ..storage.schema import Count, Frozen, Hash, Name, Number, Positive, Sha256, Words, digest
from ..tracks.budget import FLOPS_RULE, Budget, is_of_flops
from ..tracks.config import Ruleset

EPOCHS = 10.0  # of its data: a run of more measures repetition, too

Above0 = Annotated[Number, Field(gt=0)]


class Setting(Frozen):
    """What all runs of a study share."""

    track: Name
    version: Positive
    ruleset: Ruleset
    precision: Words  # of training
    examples: Positive  # images that are trained on
    data_sha256: Sha256
    protocols: dict[Words, Words]  # metric -> its full name
    trained_as: Hash  # digest of the track's objective and recipe


class Point(Frozen):
    """One run."""

    architecture: Words  # with its options, without its size
    size: Words
    parameters: Positive  # trainable
    macs: Positive  # of one image's forward pass
    training_macs: Positive  # of one training image
    budget: Above0  # FLOPs
    seed: Count
    steps: Positive
    images: Positive
    errors: dict[Words, Above0]  # by metric
    hardware: Words
    source_sha256: Sha256  # of the plugin
    run_id: Name
    run_hash: Hash

    @property
    def label(self) -> str:
        """As the command line spells it."""
        name, plus, options = self.architecture.partition("+")
        return f"{name}:{self.size}{plus}{options}"

    @property
    def identity(self) -> tuple[str, str, float, int]:
        """What no two points of a study share."""
        return self.architecture, self.size, self.budget, self.seed


def collect(
    records: Iterable[Record],
    architectures: Collection[str] = (),
    budgets: Collection[float] = (),
) -> tuple[Setting, list[Point], list[str]]:
    """The runs of one setting among the records; and in a line each, which of them have no result.

    Of equal runs, as on two machines, the newest counts. `BadFile` if none fits, or they are of more than one setting.
    """
    fitting = [record for record in records if _fits(record, architectures, budgets)]
    finished: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(fitting, key=lambda record: (record.created, record.run_id)):
        if record.status == "finished":
            finished[setting_of(record).model_dump_json()].append(record)
    if not finished:
        told = "No record is of a finished run with a budget of FLOPs and a denoising error"
        raise BadFile(f"{told}. `ditbench scaling` makes such runs.")
    if len(finished) > 1:
        told = "; ".join(_told(Setting.model_validate_json(text), len(found)) for text, found in finished.items())
        raise BadFile(f"The records are of {len(finished)} settings ({told}): give the folder of one.")
    ((setting, found),) = finished.items()
    points = {point.identity: point for point in map(point_of, found)}
    lost = sorted(set(_lost(fitting, points)))
    return Setting.model_validate_json(setting), sorted(points.values(), key=place_of), lost


def setting_of(record: Record) -> Setting:
    """What a finished run shares with the others of its study."""
    assert record.data is not None and record.training is not None
    track = record.track
    return Setting(
        track=track.name,
        version=track.version,
        ruleset=record.ruleset,
        precision=record.training.precision,
        examples=record.data.examples,
        data_sha256=record.data_sha256,
        protocols={one.metric: one.protocol for one in record.metrics if one.metric in WEIGHTS},
        trained_as=digest([track.objective.model_dump(mode="json"), track.recipe.learns], 12),
    )


def point_of(record: Record) -> Point:
    """A finished run."""
    of, cost, training = record.architecture, record.cost, record.training
    assert cost is not None and training is not None
    return Point(
        architecture=of_any_size(record),
        size=of.size,
        parameters=cost.trainable_parameters,
        macs=cost.macs_per_image,
        training_macs=cost.training_macs_per_image,
        budget=Budget.parse(record.budget).amount,
        seed=record.seed,
        steps=training.steps,
        images=training.images,
        errors={one.metric: one.value for one in record.metrics if one.metric in WEIGHTS},
        hardware=record.hardware,
        source_sha256=of.source_sha256,
        run_id=record.run_id,
        run_hash=record.run_hash,
    )


def _fits(record: Record, architectures: Collection[str], budgets: Collection[float]) -> bool:
    return (
        is_of_flops(record.budget)
        and record.flops_rule == FLOPS_RULE
        and (not budgets or Budget.parse(record.budget).amount in budgets)
        and (not architectures or of_any_size(record) in architectures)
        and (record.status != "finished" or any(one.metric in WEIGHTS for one in record.metrics))
    )


def _lost(records: Sequence[Record], points: Collection[tuple[str, str, float, int]]) -> Iterator[str]:
    for record in records:
        budget = Budget.parse(record.budget).amount
        if (of_any_size(record), record.architecture.size, budget, record.seed) not in points:
            yield f"{run_of(record.architecture.label, budget, record.seed)}{record.status}"


def run_of(label: str, budget: float, seed: int) -> str:
    """How a line about a run begins."""
    return f"{label} at {budget:g} FLOPs, seed {seed}: "


def _told(setting: Setting, runs: int) -> str:
    return f"{runs} of {setting.track} v{setting.version}, {setting.ruleset}, {setting.precision}"


def place_of(point: Point) -> tuple[str, float, int, int]:
    """By which the points of a study are sorted."""
    return point.architecture, point.budget, point.training_macs, point.seed
