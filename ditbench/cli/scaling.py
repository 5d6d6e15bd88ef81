"""`ditbench scaling`: how error and best size scale with compute, from runs of several sizes and budgets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import BadValue
from ..tracks.options import SAMPLES, CampaignOptions, RunOptions, described, only
from .app import COMPARE, EXIT_FAILED, app, show
from .options import (
    FILES,
    MEASURING,
    WHAT,
    AsJson,
    Seeds,
    SomeArchitectures,
    TrackName,
    offers,
    parse_architectures,
    parse_numbers,
    parse_seeds,
)
from .output import count as count_of
from .output import tell, tell_json, warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..profiling.speed import Workload
    from ..records.record import Record
    from ..registry import Registry
    from ..scaling.plan import Planned
    from ..scaling.points import Point
    from ..scaling.study import Study
    from ..tracks.config import RunConfig

_ANALYSED = ("budget", "reference", "eval_at", "samples", "features", "metrics", "raw_weights", "keep_samples")
OPTIONS = tuple(name for name in described(CampaignOptions) if name not in _ANALYSED)  # of its runs
_RUNG = re.compile(r"(.+)-(x[0-9.]+)")


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.runs:ScalingAnswer",
    rich_help_panel=COMPARE,
    epilog="Example: ditbench scaling dit uvit --track fashion32 --flops 8e12,16e12,32e12",
)
@offers(CampaignOptions, *OPTIONS)
def scaling(
    architectures: SomeArchitectures = None,
    track: TrackName = "digits",
    flops: Annotated[
        str, typer.Option(metavar="C,C", help="Budgets in training FLOPs, as 1e12,2e12,4e12.", rich_help_panel=WHAT)
    ] = "",
    rungs: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME",
            help="Sizes: rungs of the ladder, as x0.5,x1,x2, or names. If not given, all that make sense.",
            rich_help_panel=WHAT,
        ),
    ] = "",
    seeds: Seeds = "0,1,2",
    metric: Annotated[
        Literal["denoise", "denoise-image", "denoise-nats"],
        typer.Option(help="The error that the laws are of.", rich_help_panel=MEASURING),
    ] = "denoise",
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the runs and what they take; start none.", rich_help_panel=WHAT)
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Run nothing: a folder of records, or a study's JSON.", rich_help_panel=FILES),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Where the study goes, its picture and tables beside it.",
            show_default="scaling.json beside the runs",
            rich_help_panel=FILES,
        ),
    ] = None,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="FILE.json",
            help="An earlier study, perhaps of another machine, whose runs belong to this one.",
            rich_help_panel=FILES,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.", rich_help_panel=FILES)] = False,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Train several sizes at several budgets, and fit how error and best size scale with compute.

    A parabola in log size gives the best size at each budget; power laws go through all budgets but the largest, which
    tests them. Two architectures get the compute at which they cross. Finished runs are skipped. Exit code 1: some run
    did not finish.
    """
    chosen = parse_architectures(architectures)
    budgets = parse_numbers("--flops", flops, "numbers such as 1e12,2e12,4e12") if flops else []
    _check_file(study)
    if source is not None and (plan or rungs):
        raise BadValue(f"{'--plan' if plan else '--rungs'} is of runs, and --from starts none; leave one out.")
    known = None if earlier is None else _earlier(earlier, track if source is None else "")
    if source is not None:
        found = _read(source, chosen, budgets, metric)
    else:
        records, folder = _carried_out(chosen, track, budgets, rungs, seeds, plan, quiet, as_json, options)
        if not records:  # torchrun's other processes have none
            return
        found, study = _study(records, metric), study or folder / "scaling.json"
    lost = source is None and found.lost  # of an earlier study, it was told then
    if known is not None:
        found = _joined(found, known)
    _tell(found, study, as_json)
    if lost:
        raise typer.Exit(EXIT_FAILED)


def _check_file(study: Path | None) -> None:
    if study is not None and study.suffix != ".json":
        raise BadValue(f"--study {str(study)!r} is no name of a JSON file: end it with .json.")


def _earlier(file: Path, track: str) -> Study:
    """Read before hours of runs. track: theirs; empty: there are none."""
    from ..scaling.study import read_study
    from ..tracks.lookup import resolve_track

    known = read_study(file)
    theirs = f"{known.setting.track} v{known.setting.version}"
    if track:
        of = resolve_track(_installed(), track)
        if f"{of.name} v{of.version}" != theirs:
            raise BadValue(f"--with {str(file)!r} is of {theirs}, and these runs of {of.name} v{of.version}.")
    return known


def _joined(found: Study, earlier: Study) -> Study:
    """The runs of both as one study."""
    from ..scaling.study import joined, study_of

    setting, created = found.setting, max(found.created, earlier.created)
    newest, other = (found, earlier) if found.created == created else (earlier, found)
    points, lost = joined(newest, other)
    return study_of(setting, points, lost, found.result.metric, created, _command(setting.track, points))


def _carried_out(
    architectures: Sequence[str],
    track: str,
    budgets: Sequence[float],
    rungs: str,
    seeds: str,
    only_plan: bool,
    quiet: bool,
    as_json: bool,
    given: dict[str, Any],
) -> tuple[list[Record], Path]:
    """The records of the runs, and the folder that has them."""
    from .. import campaign
    from ..records.denoising import WEIGHTS
    from ..scaling.plan import check_budgets
    from .console import make_console
    from .run import attended

    if not architectures:
        raise BadValue("Name what to scale, such as dit or dit:nano/4; `ditbench list` shows what there is.")
    check_budgets(budgets)
    usual = {name: about.default for name, (_, about) in described(CampaignOptions).items()}
    options: Any = {**usual, **given, "samples": SAMPLES[0], "metrics": tuple(WEIGHTS)}
    out = Path(options["out"]).absolute()  # a plugin may change the working directory

    def make(registry: Registry) -> list[RunConfig]:
        planned, loads = _plan(registry, track, architectures, budgets, rungs, parse_seeds(seeds), options)
        if only_plan or not quiet:
            _tell_plan(planned, loads, out, only_plan and as_json)
        if only_plan:
            raise typer.Exit
        return [config for one in planned for config in one.configs]

    if only_plan:
        make(_installed())
    submitted = _tell_submitted if as_json else tell
    records = attended(
        lambda listener: campaign.carry_out(make, listener, options), make_console(), quiet, options["force"], submitted
    )
    return records, out / records[0].track.name if records else out


def _tell_submitted(message: str) -> None:
    from .answers.runs import Submitted

    tell_json(Submitted(message=message))


def _installed() -> Registry:
    from .app import installed

    return installed()


def _plan(
    registry: Registry,
    track: str,
    architectures: Sequence[str],
    budgets: Sequence[float],
    rungs: str,
    seeds: Sequence[int],
    options: RunOptions,
) -> tuple[list[Planned], dict[str, Workload]]:
    """The runs that make sense, by budget; and what each network asks of a machine, by its label."""
    from ..profiling.workload import count
    from ..records.facts import is_processor
    from ..scaling.plan import selections, sensible
    from ..tracks.budget import Budget
    from ..tracks.lookup import resolve_track
    from ..tracks.plan import make_plan
    from .plan import this_machine

    named = rungs.split(",") if rungs else []
    labels = selections(registry, resolve_track(registry, track), architectures, named)
    runs: list[RunConfig] = []
    for budget in budgets:
        asked = only(RunOptions, {**options, "budget": str(Budget(budget, "flops"))})
        runs += make_plan(registry, track, labels, seeds, **asked)
    one_each = list({run.label: run for run in runs}.values())
    counted = count(one_each, registry, on_gpu=not is_processor(this_machine()))
    loads = {run.label: load for run, load in zip(one_each, counted, strict=True)}
    return sensible(runs, {label: load.cost for label, load in loads.items()}, bool(named)), loads


def _tell_plan(planned: Sequence[Planned], loads: Mapping[str, Workload], out: Path, as_json: bool) -> None:
    """The runs, and what they take."""
    from ..scaling.points import EPOCHS
    from ..scaling.words import flops, macs

    hours = _hours(planned, loads, out)
    if as_json:
        _tell_runs(planned, hours)
        return
    rows = [
        {
            "run": one.label,
            "FLOPs": flops(one.budget),
            "MACs": macs(one.cost.training_macs_per_image),
            "steps": f"{one.steps:,}",
            "epochs": "" if one.epochs is None else f"{one.epochs:.2g}",
            "seeds": len(one.configs),
            "hours": "" if hour is None else f"{hour:.2g}",
            "": "repeats" if one.repeats else "",
        }
        for one, hour in zip(planned, hours, strict=True)
    ]
    show(rows, False, *rows[0])
    known = [hour for hour in hours if hour is not None]
    runs = count_of(sum(len(one.configs) for one in planned), "run")
    told = f", about {sum(known):.2g} h one after the other" if len(known) == len(hours) else ""
    tell(f"{runs}{told}; a finished one is not done again.")
    if any(one.repeats for one in planned):
        tell(f"repeats: more than {EPOCHS:g} epochs of the data, which measures repetition, too.")


def _tell_runs(planned: Sequence[Planned], hours: Sequence[float | None]) -> None:
    from .answers.runs import ScalingPlan, ScalingRun

    rows = [
        ScalingRun(
            label=one.label,
            flops=one.budget,
            training_macs_per_image=one.cost.training_macs_per_image,
            steps=one.steps,
            epochs=one.epochs,
            seeds=[config.seed for config in one.configs],
            hours=hour,
            repeats=one.repeats,
        )
        for one, hour in zip(planned, hours, strict=True)
    ]
    tell_json(ScalingPlan(plan=rows))


def _hours(planned: Sequence[Planned], loads: Mapping[str, Workload], out: Path) -> list[float | None]:
    """Of each size at each budget, for all its seeds: training, samples and errors."""
    from ..profiling.estimate import Machine, check_profiles, estimate
    from ..records.denoising import LEVELS
    from ..records.profile import committed_profiles
    from ..records.record import read_runs
    from .options import COMMITTED
    from .plan import committed, this_machine

    machine = Machine(this_machine())
    known = [*check_profiles(None), *committed_profiles(COMMITTED)]
    records = read_runs(out / planned[0].configs[0].track.name, warn)
    others = committed() if machine.is_cpu else []
    found: list[float | None] = []
    for one in planned:
        of = [estimate(config, loads[one.label], machine, known, records, others) for config in one.configs]
        left = [run for run in of if not run.status]
        shown = _CURVES * LEVELS * one.configs[0].track.evaluation.denoised
        each = [(run.hours(1), run.speed.denoising) for run in left]
        hours = [None if hour is None or not rate else hour + shown / rate / 3600 for hour, rate in each]
        found.append(None if None in hours else sum(hour for hour in hours if hour is not None))
    return found


_CURVES = 4  # of errors: of both weights, on held-out and on training images


def _read(source: Path, architectures: Sequence[str], budgets: Sequence[float], metric: str) -> Study:
    """What records say that are there already, or a study by another metric."""
    from ..records.record import read_records
    from ..scaling.study import read_study, study_of
    from ..storage.files import is_folder

    if is_folder(source):
        return _study(read_records(source, warn), metric, architectures, budgets)
    if architectures or budgets:
        raise BadValue(
            f"--from {str(source)!r} is a study, of all its runs; architectures and --flops are of a folder."
        )
    known = read_study(source)
    return study_of(known.setting, known.points, known.lost, metric, known.created, known.command)


def _study(
    records: Sequence[Record],
    metric: str,
    architectures: Sequence[str] = (),
    budgets: Sequence[float] = (),
) -> Study:
    from ..scaling.points import collect
    from ..scaling.study import study_of

    setting, points, lost = collect(records, architectures, budgets)
    of_study = {point.run_id for point in points}
    created = max(record.created for record in records if record.run_id in of_study).date()
    return study_of(setting, points, lost, metric, created, _command(setting.track, points))


def _command(track: str, points: Sequence[Point]) -> str:
    """What makes the runs again, where all architectures have the same rungs; the sizes that make sense otherwise."""
    from ..tracks.budget import Budget

    sizes: dict[str, list[str]] = {}
    for point in points:
        if point.size not in sizes.setdefault(point.architecture, []):
            sizes[point.architecture].append(point.size)
    budgets, seeds = ({getattr(point, name) for point in points} for name in ("budget", "seed"))
    bases = {
        name: next((found[1] for size in of if (found := _RUNG.fullmatch(size))), "") for name, of in sizes.items()
    }
    rungs = {
        tuple("x1" if size == bases[name] else found[2] if (found := _RUNG.fullmatch(size)) else size for size in of)
        for name, of in sizes.items()
    }
    words = ["ditbench scaling", *(_with_size(name, base) for name, base in bases.items()), "--track", track]
    words += ["--flops", ",".join(str(Budget(budget, "flops")).removesuffix("-flops") for budget in sorted(budgets))]
    words += ["--rungs", ",".join(*rungs)] if len(rungs) == 1 else []
    return " ".join([*words, "--seeds", ",".join(map(str, sorted(seeds)))])


def _with_size(architecture: str, base: str) -> str:
    name, plus, options = architecture.partition("+")
    return f"{name}{':' if base else ''}{base}{plus}{options}"


def _tell(found: Study, file: Path | None, as_json: bool) -> None:
    """Tables and the sentence, or JSON; and the files, if there are to be any."""
    from ..scaling.plot import picture
    from ..scaling.study import write_study
    from ..scaling.tables import OPTIMA, markdown, optima
    from ..storage.files import make_folder, write_text

    if file is not None:
        make_folder(file.parent)
        write_study(found, file)
        write_text(file.with_suffix(".svg"), picture(found))
        write_text(file.with_suffix(".md"), markdown(found))
    for line in found.lost:
        warn(f"Without a result: {line}")
    if as_json:
        tell_json(found.model_dump(mode="json"))
        return
    show(optima(found), False, *OPTIMA)
    tell(found.sentence)
    if file is not None:
        tell(f"Study, picture and tables in {file}, {file.with_suffix('.svg').name} and {file.with_suffix('.md').name}")
