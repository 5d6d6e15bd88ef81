"""`ditbench plan`: what runs will take, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadValue
from ..tracks.options import CampaignOptions, RunOptions, only
from .app import COMPARE, app, installed, show
from .options import (
    COMMITTED,
    AsJson,
    Plugins,
    Seeds,
    SomeArchitectures,
    TrackName,
    as_flags,
    offers,
    parse_architectures,
    parse_seeds,
)
from .output import count as count_of
from .output import tell, tell_json, warn

if TYPE_CHECKING:
    from ..denoiser_spec import DenoiserSpec
    from ..profiling.estimate import Machine, RunEstimate
    from ..records.record import Record
    from ..registry import Registry
    from ..tracks.config import RunConfig
    from ..tracks.track import Track

_GIB = 2**30
_MOST_GPUS = 1_000_000
_HEADERS = (
    "run", "seed", "steps", "images", "train GPU-h", "sample GPU-h", "hours", "train PFLOPs", "sample PFLOPs",
    "disk GiB", "GiB/GPU", "speed",
)  # fmt: skip


_ON_CPU = {"train GPU-h": "train h", "sample GPU-h": "sample h", "GiB/GPU": "GiB"}  # headers that name no GPU

OPTIONS = (  # of a run, that its cost depends on
    "data", "budget", "ruleset", "trials", "recipe", "eval_at", "samples", "metrics", "micro_batch", "checkpointing",
    "compile", "keep_samples", "raw_weights", "ema_snapshots", "shard", "out",
)  # fmt: skip

HINTS = {  # what else they mean here
    "data": "It is not opened, and need not be there.",
    "out": "Runs that have ended there cost nothing.",
}


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.runs:PlanAnswer",
    rich_help_panel=COMPARE,
    epilog="Example: ditbench plan dit:XL/2 uvit:L/2 --track imagenet256 --seeds 0,1,2 "
    "--device 'NVIDIA H100 80GB HBM3' --gpus 8",
)
@offers(CampaignOptions, *OPTIONS, hints=HINTS)
def plan(
    architectures: SomeArchitectures = None,
    plugins: Plugins = None,
    track: TrackName = "digits",
    seeds: Seeds = "0",
    device: Annotated[
        str, typer.Option(help="torch's name of the GPU, e.g. 'NVIDIA H200'; if not given, what is here.")
    ] = "",
    gpus: Annotated[int, typer.Option(min=1, max=10_000, help="GPUs of each run, which share a batch.")] = 1,
    on: Annotated[str, typer.Option(help="Also pack the runs on clusters of so many GPUs, e.g. 8,64,512.")] = "",
    profiles: Annotated[
        Path | None, typer.Option(help="Folder of `ditbench profile`'s records; `profiles` if it is there.")
    ] = None,
    mfu: Annotated[
        float | None,
        typer.Option(help="Share of the device's peak, where no profile is; an estimate, or 0.12, if not given."),
    ] = None,
    memory: Annotated[float | None, typer.Option(help="GiB of one GPU, where it is not in the table.")] = None,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Estimate time, FLOPs, disk and memory of runs, from profiles of them or else from their MACs.

    Nothing is trained and no data is read. Networks are counted without memory, for which torch is loaded.
    """
    from ..profiling.estimate import Machine, check_profiles, estimate
    from ..profiling.hardware import MEMORY
    from ..records.facts import is_processor
    from ..records.profile import committed_profiles
    from ..records.record import read_runs
    from .console import make_console

    chosen = parse_architectures(architectures, plugins)
    if not chosen:
        raise BadValue("Name what to plan, such as dit or dit:XL/2; `ditbench list` shows what there is.")
    registry = installed()
    clusters = _parse_clusters(on, gpus)
    _check_hardware(device)
    if mfu is not None and not 0 < mfu <= 1:
        raise BadValue(f"--mfu {mfu:g} is no share of a peak: choose one above 0, up to 1.")
    if memory is not None and not 0 < memory < float("inf"):
        raise BadValue(f"--memory {memory:g} is no number of GiB above 0.")
    asked = only(RunOptions, {**options, "device": "cpu" if is_processor(device) else "auto"})
    configs = plan_of(registry, track, chosen, parse_seeds(seeds), asked)
    configs = [*_trials(configs, options["trials"]), *configs]
    known = [*check_profiles(profiles), *committed_profiles(COMMITTED)]
    records = read_runs(Path(options["out"]) / configs[0].track.name, warn)

    from ..profiling.workload import count

    device = device or this_machine()
    limit = memory * _GIB if memory else MEMORY.get(device)
    machine = Machine(device, gpus, mfu, limit, options["shard"])
    with make_console().status("Counting every network"):
        loads = count(configs, registry, on_gpu=not machine.is_cpu)
    others = committed() if machine.is_cpu else []
    found = [estimate(run, load, machine, known, records, others) for run, load in zip(configs, loads, strict=True)]
    _tell(found, machine, loads[0].spec, clusters, as_json)


def _trials(configs: Sequence[RunConfig], number: int | None) -> list[RunConfig]:
    """The trials of the searches that come first under the tuned ruleset."""
    from ..tracks.points import draw
    from ..tracks.tuning import trial_of

    if configs[0].ruleset != "tuned":
        return []
    first = {config.label: config for config in reversed(configs)}
    of_each = dict.fromkeys(config.label for config in configs)
    return [trial_of(first[label], point) for label in of_each for point in draw(first[label].track, number)]


def committed() -> list[Record]:
    """The records of a clone's leaderboard, if this is one."""
    from ..records.record import read_records
    from ..storage.files import is_folder

    return read_records(COMMITTED, warn) if is_folder(COMMITTED) else []


def plan_of(
    registry: Registry, track: str, architectures: Sequence[str], seeds: Sequence[int], options: RunOptions
) -> list[RunConfig]:
    """The runs, also of a track whose data is not at hand."""
    from ..tracks.lookup import resolve_track
    from ..tracks.plan import make_plan

    data = options["data"]
    elsewhere = not data and registry.datasets[_dataset(resolve_track(registry, track))].place == "required"
    asked: RunOptions = {**options, "data": "synthetic" if elsewhere else data}
    runs = make_plan(registry, track, architectures, seeds, **asked)
    return [run.model_copy(update={"data": data}) for run in runs]


def _dataset(track: Track) -> str:
    return track.data.dataset.partition(":")[0]


def _check_hardware(name: str) -> None:
    """A GPU's name can't be checked further: it may be one that nobody has measured."""
    if not name.isprintable() or len(name) > 100 or name.partition(":")[0] in ("auto", "cpu", "cuda"):
        raise BadValue(f"--device {name!r} is no name of a GPU as torch has it, e.g. 'NVIDIA H200'; see --help.")


def _parse_clusters(text: str, gpus: int) -> list[int]:
    """Numbers of GPUs, each of which holds a whole number of runs."""
    try:
        sizes = [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise BadValue(f"--on {text!r} is no list of numbers of GPUs such as 8,64,512.") from None
    for size in sizes:
        if size > _MOST_GPUS:
            raise BadValue(f"--on {size}: no cluster has more than {_MOST_GPUS:,} GPUs.")
        if size < 1 or size % gpus:
            raise BadValue(f"--on {size}: clusters hold whole runs, so choose multiples of --gpus {gpus}.")
    return sizes


def this_machine() -> str:
    from ..runtime.environment import describe, find_device

    return describe(find_device("auto")).hardware


def _tell(
    found: Sequence[RunEstimate], machine: Machine, spec: DenoiserSpec, clusters: Sequence[int], as_json: bool
) -> None:
    """Table or JSON on stdout, warnings on stderr."""
    from ..profiling.estimate import misfit

    warnings = list(dict.fromkeys(as_flags(told) for one in found if (told := misfit(one, machine))))
    until = {size: _until_done(found, machine.gpus, size) for size in clusters}
    for warning in warnings:
        warn(f"ditbench: {warning}")
    if as_json:
        whole = {
            "device": machine.device,
            "gpus_per_run": machine.gpus,
            "sharded": machine.shard,
            "mfu_if_not_measured": machine.mfu,
            "memory_bytes_per_gpu": machine.memory,
            "input": str(spec),
            "runs": [_facts(one, machine.gpus) for one in found],
            "total": _total(found),
            "hours_on": [{"gpus": size, "hours": hours} for size, hours in until.items()],
            "warnings": warnings,
        }
        tell_json(whole)
        return
    where = f"machine: {machine.device}" if machine.is_cpu else f"each has {machine.gpus} x {machine.device}"
    tell(f"{count_of(len(found), 'run')} on {spec}; {where}")
    headers = {header: _ON_CPU.get(header, header) if machine.is_cpu else header for header in _HEADERS}
    rows = [*_rows(found, machine.gpus), _total_row(found)]
    show([{headers[key]: cell for key, cell in row.items()} for row in rows], False, *headers.values())
    for line in _footnotes(found, machine):
        tell(line)
    for size, hours in until.items():
        done = "not known" if hours is None else f"{_figures(hours)} h"
        at_once = count_of(size // machine.gpus, "run")
        tell(f"On {count_of(size, 'GPU')}, {at_once} at a time, the longest first: {done}")


def _until_done(found: Sequence[RunEstimate], gpus: int, cluster: int) -> float | None:
    from ..profiling.estimate import makespan

    hours = [one.hours(gpus) for one in found]
    known = [hour for hour in hours if hour is not None]
    return makespan(known, cluster // gpus) if len(known) == len(hours) else None


def _facts(one: RunEstimate, gpus: int) -> dict[str, Any]:
    """A run's numbers, with the types they have; what is not known is null."""
    config = one.config
    return {
        "architecture": config.label,
        "size": config.size,
        "seed": config.seed,
        "ruleset": config.ruleset,
        "status": one.status or "to do",
        "budget": config.budget,
        "steps": one.steps,
        "images": one.images,
        "training_gpu_hours": one.training_gpu_hours,
        "sampling_gpu_hours": one.sampling_gpu_hours,
        "hours": one.hours(gpus),
        "training_flops": one.training_flops,
        "sampling_flops": one.sampling_flops,
        "disk_bytes": {**vars(one.disk), "peak": one.disk.peak, "kept": one.kept},
        "memory_bytes_per_gpu": one.memory.bytes,
        "memory_is": "with activations" if one.memory.whole else "a lower bound: activations not counted",
        "speed": one.speed.source,
        "by": one.speed.by,
        "notes": list(one.notes),
    }


def _total(found: Sequence[RunEstimate]) -> dict[str, Any]:
    """Sums over the runs; one that is not known makes its sum unknown."""
    from ..profiling.estimate import add

    return {
        "training_gpu_hours": add(one.training_gpu_hours for one in found),
        "sampling_gpu_hours": add(one.sampling_gpu_hours for one in found),
        "training_flops": add(one.training_flops for one in found),
        "sampling_flops": add(one.sampling_flops for one in found),
        "disk_bytes": sum(one.disk.peak for one in found),
        "kept_bytes": sum(one.kept for one in found),
    }


def _rows(found: Sequence[RunEstimate], gpus: int) -> Iterator[dict[str, object]]:
    numbers = {reason: number for number, reason in enumerate(_reasons(found), start=1)}
    for one in found:
        least = "" if one.memory.whole else "at least "
        yield {
            "run": one.config.label,
            "seed": "trial" if one.config.ruleset == "trial" else one.config.seed,
            "steps": _count(one.steps),
            "images": _count(one.images),
            **_cells(one.training_gpu_hours, one.sampling_gpu_hours, one.training_flops, one.sampling_flops),
            "hours": _figures(one.hours(gpus)),
            "disk GiB": _figures(one.disk.peak / _GIB),
            "GiB/GPU": "" if one.status else f"{least}{_figures(one.memory.bytes / _GIB)}",
            "speed": one.status or f"{one.speed.source} ({numbers[_reason(one)]})",
        }


def _total_row(found: Sequence[RunEstimate]) -> dict[str, object]:
    total = _total(found)
    names = ("training_gpu_hours", "sampling_gpu_hours", "training_flops", "sampling_flops")
    cells = _cells(*(total[name] for name in names))
    return {**dict.fromkeys(_HEADERS, ""), "run": "total", **cells, "disk GiB": _figures(total["disk_bytes"] / _GIB)}


def _cells(
    training: float | None, sampling: float | None, training_flops: float | None, sampling_flops: float | None
) -> dict[str, str]:
    return {
        "train GPU-h": _figures(training),
        "sample GPU-h": _figures(sampling),
        "train PFLOPs": _figures(training_flops and training_flops / 1e15),
        "sample PFLOPs": _figures(sampling_flops and sampling_flops / 1e15),
    }


def _reasons(found: Sequence[RunEstimate]) -> list[tuple[str, ...]]:
    """What stands behind the runs' numbers, each once."""
    return list(dict.fromkeys(_reason(one) for one in found if not one.status))


def _reason(one: RunEstimate) -> tuple[str, ...]:
    return (one.speed.by, *one.notes)


def _footnotes(found: Sequence[RunEstimate], machine: Machine) -> Iterator[str]:
    from ..profiling.attainable import SOURCE
    from ..profiling.estimate import ATTAINABLE_MARK, MFU, MFU_SOURCE
    from ..profiling.hardware import near

    for number, reason in enumerate(_reasons(found), start=1):
        yield f"({number}) {'; '.join(reason)}."
    sources = {one.speed.source for one in found if not one.status}
    shares = {one.speed.by for one in found if not one.status and one.speed.source == "estimated"}
    if machine.mfu is None and not machine.is_cpu:
        if any(ATTAINABLE_MARK in by for by in shares):
            yield f"What it may attain: {SOURCE}. The same share of other peaks is taken. A profile is better."
        if any(ATTAINABLE_MARK not in by for by in shares):
            yield f"MFU {MFU:g}: {MFU_SOURCE} of the peak of bfloat16. --mfu sets another; a profile is better."
    if "unknown" in sources and (meant := near(machine.device)):
        yield f"Did you mean {' or '.join(map(repr, meant))}? --device takes the whole name that torch has for a GPU."
    if "unknown" in sources:
        yield "What is empty is not known. `ditbench profile` on that device measures it."
    if any(not one.memory.whole for one in found if not one.status):
        yield "At least: weights, EMA, gradients and moments; activations not counted."
    kept = sum(one.kept for one in found) / _GIB
    yield f"Not counted: reading data, metrics, waiting for each other. {_figures(kept)} GiB of the disk stay."


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _figures(number: float | None) -> str:
    """Three significant figures, or all before the point."""
    if number is None:
        return ""
    if not number or number >= 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}".rstrip(".") if number >= 0.01 else f"{number:.2e}"
