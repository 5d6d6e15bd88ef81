"""What all runs of a board share, and by which clock their times were measured."""

from __future__ import annotations

from typing import NamedTuple

from ..records.record import Record
from ..storage.schema import digest
from ..tracks.budget import FLOPS_RULE, Budget, is_of_flops

BESIDE_OTHERS = "beside others"  # of times that were measured while other runs were at work on the machine


class Protocol(NamedTuple):
    """What all runs of a board share."""

    track: str
    version: int
    track_hash: str
    ruleset: str  # with what it leaves open, as `ruleset` has it
    budget: str
    device: str  # "cpu", "mps" or "gpu"; under a budget of time the whole hardware class, and whether others ran beside
    data: str  # sha256, as the next
    reference: str
    deviations: tuple[str, ...]  # why its runs are not what their track says
    metrics: tuple[str, ...]  # full names of what was measured; empty: nothing was

    @property
    def mark(self) -> str:
        """What runs of one title were trained on, compared with and measured by."""
        return f", data {self.data[:6]} against {self.reference[:6]}, protocol {digest(self, 6)}"


class Clock(NamedTuple):
    """Where times were measured: those of two clocks do not compare."""

    hardware: str
    beside_others: bool

    @classmethod
    def of(cls, record: Record) -> Clock:
        """That of a run."""
        return cls(hardware_of(record), record.environment is not None and record.environment.beside_others)

    @property
    def name(self) -> str:
        """The class of hardware, and whether others ran beside."""
        return f"{self.hardware}, {BESIDE_OTHERS}" if self.beside_others else self.hardware

    def told(self, several: bool) -> str:
        """What a reader must know of it where times stand; `several` classes of hardware are told by name."""
        return self.name if several else BESIDE_OTHERS if self.beside_others else ""


def protocol_of(record: Record) -> Protocol:
    """That of a run."""
    timed = Budget.parse(record.budget).is_of_time
    older = is_of_flops(record.budget) and record.flops_rule != FLOPS_RULE
    kind = record.device.partition(":")[0]
    return Protocol(
        record.track.name,
        record.track.version,
        record.track_hash,
        told_apart(ruleset(record), record),
        f"{record.budget} by rule {record.flops_rule}" if older else record.budget,
        Clock.of(record).name if timed else "gpu" if kind == "cuda" else kind,
        record.data_sha256,
        record.reference_sha256,
        tuple(record.deviations),
        tuple(measurement.protocol for measurement in record.metrics),
    )


def told_apart(ruleset: str, record: Record) -> str:
    """A ruleset with the mark of a run whose latents are, or whose loss uses, features of outside networks.

    It compares with no other.
    """
    return ", ".join([ruleset, *(f"trained with {name}" for name in _outside(record))])


def ruleset(record: Record) -> str:
    """With what it leaves open, and behind " of " what tells that apart: a search's space and points, a free recipe.

    E.g. "tuned, 8 trials of 0123456789ab", or "speedrun, recipe 012345 of 0123456789ab".
    """
    if record.study is not None:
        return f"{record.ruleset}, {len(record.study.trials)} trials of {record.study.digest}"
    if record.ruleset != "speedrun":
        return record.ruleset
    known_by = digest([record.recipe.learns, record.objective.model_dump(mode="json")], 12)
    return f"speedrun, recipe {known_by[:6]} of {known_by}"


def _outside(record: Record) -> dict[str, None]:
    """The trained networks whose features its latents are, or its loss uses."""
    return dict.fromkeys((*record.track.trained_with, *record.architecture.trained_with))


def hardware_of(record: Record) -> str:
    """The class of hardware that a run was on; of one that does not say, the kind of its device."""
    return record.hardware or record.device.partition(":")[0]
