"""A run's cost held against what its architecture costs: by the committed table, or as it is installed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...components import DenoiserSpec
from ..facts import Cost
from ..record import Record
from .faults import Faults, differs
from .known import Known
from .sizes import read_shipped

LEAST_TRAINED = 0.1  # of an inference forward's MACs that training takes at least, whatever it masks
MACS = 0.01  # by which they may differ: versions of torch differ in which small operations they count
TRAINED_MACS = (0.7, 1.5)  # times as many: older records count one draw of a mask, and what checkpointing recomputes
EXACT = ("parameters", "trainable_parameters", "train_only_parameters", "training_forwards")


def cost_of(record: Record, known: Known) -> Faults:
    """Parameters and MACs that agree with each other, and are those of the architecture with that very source."""
    cost = record.cost
    if cost is None:
        return
    for name in ("trainable_parameters", "train_only_parameters"):
        if getattr(cost, name) > cost.parameters:
            yield f"cost.{name} is {getattr(cost, name)}, should be part of the {cost.parameters} parameters"
    if cost.training_macs_per_image < LEAST_TRAINED * cost.macs_per_image:
        least = f"at least a tenth of the {cost.macs_per_image} of a forward pass"
        yield f"cost.training_macs_per_image is {cost.training_macs_per_image}, should be {least}"
    found: list[list[str]] = []
    for should in _costs(record, known):
        found.append(list(_against(cost, should)))
        if not found[-1]:
            return
    yield from min(found, key=len, default=[])


def _costs(record: Record, known: Known) -> Iterator[Cost]:
    """What it may cost: it learns a variance or not, by its objective, whose code is not asked."""
    if record.data is None:
        return
    channels, side, _ = record.data.shape
    told: dict[str, Any] = {
        "channels": channels,
        "resolution": side,
        "classes": record.data.classes,
        "space": record.track.space,
    }
    rows = _rows(record, told)
    yield from rows
    if not rows:
        for learn_variance in (False, True):
            spec = DenoiserSpec(**told, learn_variance=learn_variance)
            if (counted := known.cost(record.architecture, spec)) is not None:
                yield counted


def _rows(record: Record, told: Mapping[str, object]) -> list[Cost]:
    """Of the table, if it holds for the record's source and the architecture's own options."""
    of, table = record.architecture, read_shipped()
    if of.options or of.source_sha256 not in table.sources.get(of.name, ()):
        return []
    asked = {"architecture": of.name, "size": of.size, **told}
    return [row.cost for row in table.rows if all(getattr(row, name) == value for name, value in asked.items())]


def _against(cost: Cost, should: Cost) -> Faults:
    why = "as the architecture of that source has it"
    for name in EXACT:
        yield from differs(f"cost.{name}", getattr(cost, name), getattr(should, name), why)
    bounds = {"macs_per_image": (1 - MACS, 1 + MACS), "training_macs_per_image": TRAINED_MACS}
    for name, (least, most) in bounds.items():
        says, about = getattr(cost, name), getattr(should, name)
        if not least * about <= says <= most * about:
            yield f"cost.{name} is {says}, should be about {about} ({why})"


def settings_of(record: Record, known: Known) -> Faults:
    """The network was built with what its size and its options say, where its very source is installed."""
    built = known.settings(record.architecture)
    if built is not None:
        yield from differs("architecture.settings", record.architecture.settings, built, "of its size and its options")
