"""The page of a run: its results, what they follow from, all that it was made of, and how to do it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from ...records.diff import fields, rank
from ...records.facts import Measurement, PeakMemory, TrainingFacts
from ...records.record import Record
from ...records.verification import Verification, confirms, is_of
from ..costs import SAMPLING_RATE_PER_DEVICE, TRAINING_RATE_PER_DEVICE, Fact, flops
from ..learning_curves import course
from ..tables import number, quality_header
from . import guidance
from .contents import Contents, Run
from .errors import by_length, of_run
from .pictures import Picture
from .plots import Chart, losses, step_times
from .reproduction import Reproduction, reproduction

NamedValues = Sequence[tuple[str, str]]
Field = tuple[int, str, Any]  # its place in the order of suspicion, its name, its value


@dataclass(frozen=True)
class Result:
    """A metric's number and what it comes from."""

    protocol: str
    value: str
    spread: str
    samples: str
    reference: str
    raw: str


@dataclass(frozen=True)
class Way:
    """What was measured at shares of the budget, as text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class VerificationView:
    """What somebody else found of the run."""

    of: Verification
    verdict: str
    compared: Sequence[tuple[str, str, str, str]]  # protocol, in the record, found, allowed distance


@dataclass(frozen=True)
class RunView:
    """All that a page shows of a run."""

    run: Run
    groups: Sequence[tuple[str, Sequence[Result]]]  # of the samples, of raw weights, of real images
    costs: NamedValues
    way: Way
    times: NamedValues
    charts: dict[str, Chart]
    picture: Picture | None
    checks: Sequence[VerificationView]
    again: Reproduction
    others: Sequence[Run]  # of the same row


def view(contents: Contents, run: Run) -> RunView:
    """A run as its page shows it."""
    record = run.record
    charts = {
        "errors": of_run(contents, run),
        "lengths": by_length(contents, run),
        "guidance": guidance.of_run(contents, run),
        "loss": losses(contents, run.board, [run]),
        "steps": step_times(contents, run),
    }
    return RunView(
        run,
        list(_groups(record)),
        list(_costs(record)),
        _way(record),
        list(_times(record.training)) if record.training else [],
        {kind: chart for kind, chart in charts.items() if chart},
        contents.pictures.get(record.run_id),
        [_check(found, record) for found in contents.verifications.get(record.run_id, ())],
        reproduction(record),
        [other for other in contents.runs_of(run.row) if other is not run],
    )


def shared_fields(records: Sequence[Record]) -> list[Field]:
    """Those that all runs of a board have alike, so that a thousand pages need not repeat them."""
    first, *others = map(protocol_fields, records)
    values = [{name: value for _, name, value in fields} for fields in others]
    return [of for of in first if all(of[1] in seen and seen[of[1]] == of[2] for seen in values)]


def protocol_fields(record: Record) -> list[Field]:
    """What `ditbench diff` compares, in its order of suspicion."""
    return sorted(((rank(name), name, value) for name, value in fields(record)), key=lambda field: field[:2])


def _groups(record: Record) -> Iterator[tuple[str, list[Result]]]:
    found = [
        ("Samples of the EMA weights", record.metrics),
        ("Samples of the raw weights", record.raw.metrics if record.raw else []),
        ("Real images", record.floors),
    ]
    yield from ((title, list(map(_result, metrics))) for title, metrics in found if metrics)


def _result(of: Measurement) -> Result:
    spread = "" if of.spread is None else number(of.spread)
    reference = "" if of.reference_samples is None else f"{of.reference_samples:,}"
    return Result(quality_header(of), number(of.value), spread, f"{of.samples:,}", reference, _raw(of))


def _raw(of: Measurement) -> str:
    """What the value follows from, in words; the record has the numbers."""
    if counts := of.raw.get("counts"):
        return " of ".join(f"{count:,.0f}" for count in counts)
    if terms := of.raw.get("terms"):
        return " + ".join(map(number, terms))
    if values := of.raw.get("values"):
        return f"mean of {len(values)}, {number(min(values))} to {number(max(values))}"
    return ""


def _way(record: Record) -> Way:
    protocols = [of.protocol for of in record.metrics]
    rows = [
        [
            f"{100 * point.at:g} %",
            f"{point.steps:,}",
            f"{point.images:,}",
            number(point.seconds),
            number(point.flops / 1e12),
            *(number(point.quality[protocol]) if protocol in point.quality else "—" for protocol in protocols),
        ]
        for point in course(record)
    ]
    return Way(["budget", "steps", "images", "seconds", "TFLOPs", *map(quality_header, record.metrics)], rows)


def _check(of: Verification, record: Record) -> VerificationView:
    verdict = "confirms the record" if confirms(of, record) else "does not agree with the record"
    compared = [(one.protocol, number(one.recorded), number(one.found), number(one.allowed)) for one in of.compared]
    return VerificationView(of, verdict if is_of(of, record) else "is of an earlier state of the record", compared)


def _costs(record: Record) -> Iterator[tuple[str, str]]:
    cost, training, sampling, memory = record.cost, record.training, record.sampling, record.memory
    if cost is not None:
        yield "parameters", f"{cost.parameters:,}"
        yield "of them trained", f"{cost.trainable_parameters:,}"
        yield "of them for training alone", f"{cost.train_only_parameters:,}"
        yield "MACs per image", f"{cost.macs_per_image:,}"
        yield "training MACs per image", f"{cost.training_macs_per_image:,}"
        if cost.outside_macs_per_image:
            yield "of them by outside networks", f"{cost.outside_macs_per_image:,}"
    if training is not None:
        yield "steps", f"{training.steps:,}"
        yield "training images", f"{training.images:,}"
        yield "seconds of training", number(training.seconds)
        if training.pauses:
            yield "paused meanwhile, seconds", f"{number(training.paused_seconds)} in {training.pauses} pauses"
        if training.damaged_checkpoints:
            yield "damaged checkpoints left out", str(training.damaged_checkpoints)
        yield "training TFLOPs", number(flops(record, training.images) / 1e12)
        yield "training images/s", number(training.images_per_second)
        yield from _each("training images/s per device", TRAINING_RATE_PER_DEVICE, record)
        yield "compiling, seconds", number(training.compile_seconds)
    if sampling is not None:
        yield "sampling images/s", number(sampling.images_per_second)
        yield from _each("sampling images/s per device", SAMPLING_RATE_PER_DEVICE, record)
        yield "network evaluations per image", str(sampling.evaluations)
    if memory is not None:
        yield from _peaks("peak memory in training", memory.training)
        yield from _peaks("peak memory in sampling", memory.sampling)


def _each(title: str, rate: Fact, record: Record) -> Iterator[tuple[str, str]]:
    """A rate that only runs in several processes have."""
    if (found := rate.read(record)) is not None:
        yield title, number(found)


def _peaks(title: str, peak: PeakMemory) -> Iterator[tuple[str, str]]:
    for kind, size in peak:
        if size is not None:
            yield f"{title}, {kind.replace('_', ' ')}", f"{number(size / 2**20)} MiB"


def _times(training: TrainingFacts) -> Iterator[tuple[str, str]]:
    times = [1000 * seconds for seconds in training.step_seconds]
    first, third = quantiles(times, method="inclusive")[::2] if len(times) > 1 else times * 2
    yield "steps timed", f"{len(times):,}" + (f", every {training.step_stride}" if training.step_stride > 1 else "")
    told = {"fastest": min(times), "first quartile": first, "median": median(times), "third quartile": third}
    yield from ((label, f"{number(time)} ms") for label, time in {**told, "slowest": max(times)}.items())
