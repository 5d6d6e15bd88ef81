"""A run's cost held against what its architecture costs: by the committed table, or as it is installed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ...denoiser_spec import DenoiserSpec
from ...tracks.architecture import ArchitectureFacts
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
    if record.cost is None:
        return
    yield from _parts(record.cost)
    yield from _outside(record.cost, record.architecture)
    if record.data is None:
        return
    *frames, channels, side, _ = record.data.shape
    plain = DenoiserSpec(
        channels=channels,
        resolution=side,
        classes=record.data.classes,
        space=record.track.space,
        frames=frames[0] if frames else 1,
    )
    specs = [plain, replace(plain, learn_variance=True)]  # which, its objective knows, whose code is not asked
    yield from _closest(record.cost, costs_on(record.architecture, specs, known))


def cost_on(of: ArchitectureFacts, spec: DenoiserSpec, cost: Cost, known: Known) -> Faults:
    """The same of an architecture on an input."""
    yield from _parts(cost)
    yield from _outside(cost, of)
    yield from _closest(cost, costs_on(of, [spec], known))


def _parts(cost: Cost) -> Faults:
    for name in ("trainable_parameters", "train_only_parameters"):
        if getattr(cost, name) > cost.parameters:
            yield f"cost.{name} is {getattr(cost, name)}, should be part of the {cost.parameters} parameters"
    if cost.training_macs_per_image < LEAST_TRAINED * cost.macs_per_image:
        least = f"at least a tenth of the {cost.macs_per_image} of a forward pass"
        yield f"cost.training_macs_per_image is {cost.training_macs_per_image}, should be {least}"


def _outside(cost: Cost, of: ArchitectureFacts) -> Faults:
    """The work of outside networks, which is counted where the architecture names some, and there alone."""
    told, names = cost.outside_macs_per_image, ", ".join(of.trained_with)
    if told > cost.training_macs_per_image:
        yield f"cost.outside_macs_per_image is {told}, should be part of the {cost.training_macs_per_image} of training"
    if bool(told) != bool(names):
        meant = f"the work of {names}" if names else "0, for architecture.trained_with names no network"
        yield f"cost.outside_macs_per_image is {told}, should be {meant}"


def _closest(cost: Cost, may_be: Iterable[Cost]) -> Faults:
    """The fewest faults against any of the costs that it may be; none if there is none."""
    found: list[list[str]] = []
    for should in may_be:
        found.append(list(_against(cost, should)))
        if not found[-1]:
            return
    yield from min(found, key=len, default=[])


def costs_on(of: ArchitectureFacts, specs: Sequence[DenoiserSpec], known: Known) -> Iterator[Cost]:
    """What an architecture costs on inputs: by the table, or counted here if that has none of them."""
    rows = [cost for spec in specs for cost in _rows(of, spec)]
    yield from rows
    for spec in () if rows else specs:
        if (counted := known.cost(of, spec)) is not None:
            yield counted


def _rows(of: ArchitectureFacts, spec: DenoiserSpec) -> list[Cost]:
    """Of the table, if it holds for that source and the architecture's own options."""
    table = read_shipped()
    if of.options or of.source_sha256 not in table.sources.get(of.name, ()):
        return []
    asked = {"architecture": of.name, "size": of.size, **vars(spec)}
    return [row.cost for row in table.rows if all(getattr(row, name) == value for name, value in asked.items())]


def _against(cost: Cost, should: Cost) -> Faults:
    why = "as the architecture of that source has it"
    for name in EXACT:
        yield from differs(f"cost.{name}", getattr(cost, name), getattr(should, name), why)
    alike = (1 - MACS, 1 + MACS)
    bounds = {"macs_per_image": alike, "training_macs_per_image": TRAINED_MACS, "outside_macs_per_image": alike}
    for name, (least, most) in bounds.items():
        says, about = getattr(cost, name), getattr(should, name)
        if not least * about <= says <= most * about:
            yield f"cost.{name} is {says}, should be about {about} ({why})"


def settings_of(record: Record, known: Known) -> Faults:
    """The network was built with what its size and its options say, where its very source is installed."""
    built = known.settings(record.architecture)
    if built is not None:
        yield from differs("architecture.settings", record.architecture.settings, built, "of its size and its options")
    others = known.trained_with(record.architecture)
    if others is not None:
        yield from differs(
            "architecture.trained_with", list(record.architecture.trained_with), list(others), "its plugin's"
        )
