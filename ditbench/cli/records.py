"""`ditbench diff` and `records`: what records say, whether it holds, and who else found so."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer

from ..errors import BadFile, BadValue
from ..tracks.options import PlaceOptions
from .app import EXIT_FAILED, TABLES, app, fetch_weights, installed
from .options import AsJson, offers
from .output import Commands, count, tell, tell_json, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..components import Selection
    from ..denoiser_spec import DenoiserSpec
    from ..leaderboard.error_levels import Comparison
    from ..leaderboard.intervals import Estimate
    from ..records.evaluation import Evaluation
    from ..records.facts import Cost
    from ..records.record import Record
    from ..records.validation.files import CheckedFile
    from ..records.verification import Verification
    from ..registry import Registry

records_app = Commands(no_args_is_help=True, help="Check, submit and verify records.")
app.add_typer(records_app, name="records", rich_help_panel=TABLES)
_NO_FAULT = "no fault. Seals and hashes hold, and so do the numbers that could be computed again."
_EXACT = 2**53  # floats up to this are whole numbers as they are written
By = Annotated[str, typer.Option(help="Your name, or an account's.", show_default=False)]


@app.command(
    gives="ditbench.cli.answers.records:DiffAnswer",
    rich_help_panel=TABLES,
    epilog="Example: ditbench diff ONE/record.json OTHER/record.json",
)
def diff(
    one: Annotated[Path, typer.Argument(help="A record, or a run's folder.")],
    other: Annotated[Path, typer.Argument(help="Another.")],
    all_seeds: Annotated[
        bool, typer.Option("--all-seeds", help="Compare denoising errors over all seeds that lie beside each record.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what two runs, or evaluations, did not do alike, most suspicious first, and their denoising errors."""
    from ..records.diff import differences, doubt, read_either, record_in
    from .console import make_console, make_table, plain

    paths = [record_in(one), record_in(other)]
    records = {path: read_either(path) for path in paths}
    for path, record in records.items():
        if told := doubt(path, record):
            warn(f"Mind: {told}")
    found = differences(*(records[path] for path in paths))
    errors = _errors(paths, [records[path] for path in paths], all_seeds)
    if as_json:
        listed = [asdict(difference) for difference in found]
        tell_json({"differences": listed, "denoising": _errors_for_programs(errors)})
        return
    if not found:
        tell("The two records name the same protocol.")
    else:
        table = make_table("field", plain(one), plain(other))
        for difference in found:
            table.add_row(*map(plain, (difference.field, _value(difference.one), _value(difference.other))))
        make_console().print(table)
    if errors:
        _show_errors(errors)


def _errors(paths: list[Path], found: list[Record | Evaluation], all_seeds: bool) -> Comparison | None:
    """The denoising errors of two runs, or of the rows that they are of; None where nothing compares."""
    from ..leaderboard.error_levels import compare_errors, row_of
    from ..records.files import FILE_NAME
    from ..records.record import Record, read_records, read_runs

    runs = [[one] for one in found if isinstance(one, Record)]
    if all_seeds and runs:
        beside = [
            read_runs(path.absolute().parents[1], warn) if path.name == FILE_NAME else read_records(path.parent, warn)
            for path in paths
        ]
        runs = [list(row_of(run, others).finished) for (run,), others in zip(runs, beside, strict=True)]
    errors = compare_errors(*runs) if runs else None
    if all_seeds and errors is None:
        warn("Mind: the two have no denoising errors of the same images to compare.")
    return errors


def _errors_for_programs(errors: Comparison | None) -> dict[str, Any] | None:
    if errors is None:
        return None
    levels = [{**level._asdict(), "one": _span(level.one), "other": _span(level.other)} for level in errors.levels]
    return {"levels": levels, "seeds": errors.seeds, "images": errors.images, "words": errors.words}


def _span(of: Estimate) -> dict[str, Any]:
    return {"mean": of.mean, "half_width": of.half_width, "values": of.values}


def _show_errors(errors: Comparison) -> None:
    from ..leaderboard.tables import interval, number
    from .console import make_console, make_table, plain

    title = f"Denoising error by log-SNR: (1 + SNR) x squared error, averaged weights, {errors.images} held-out images"
    table = make_table("log-SNR", *map(plain, errors.names), "ratio", "better", title=title)
    for level in errors.levels:
        ratio = "" if level.ratio is None else number(level.ratio)
        better = "" if level.better is None else errors.names[level.better]
        table.add_row(f"{level.log_snr:.1f}", interval(level.one), interval(level.other), ratio, plain(better))
    make_console().print(table)
    tell(f"{errors.words}\n{errors.how}")


def _value(value: object) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
    text = "-" if value is None else str(int(value)) if whole else str(value)  # type: ignore[call-overload]
    return f"{text[:12]}..." if re.fullmatch("[0-9a-f]{40,64}", text) else text


@records_app.command(gives="ditbench.cli.answers.records:Schema", epilog="Example: ditbench records schema")
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Changes nothing: it is JSON in any case.")] = False,
) -> None:
    """Print the JSON Schema of a run's record."""
    from ..records.record import Record

    tell_json(Record.model_json_schema(), indent=2, sort_keys=True)


@records_app.command(
    gives="ditbench.cli.answers.records:CheckedRecords",
    epilog="Example: ditbench records validate leaderboard/records",
)
def validate(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders that are searched through and through.")],
    as_json: AsJson = False,
) -> None:
    """Recompute what follows from raw numbers and hashes, and name every fault, a line each.

    A leaderboard's folder, too: each record as it was submitted, and no file that belongs to none. What an installed
    plugin's metrics and samplers tell is computed again as well; what could not be is named, and is no fault.
    """
    from ..records.validation.files import validate as check

    checked = check(paths, installed(), _counter())
    if as_json:
        tell_json([_checked(one) for one in checked])
    else:
        _tell_checked(checked)
    if any(one.faults for one in checked):
        raise typer.Exit(EXIT_FAILED)


def _counter() -> Callable[[Selection, DenoiserSpec], Cost]:
    """What counts a denoiser's cost, each once; torch is loaded where a record asks for that."""
    found: dict[tuple[str, DenoiserSpec], Cost] = {}

    def count(selection: Selection, spec: DenoiserSpec) -> Cost:
        from ..asking import ask_of
        from ..denoiser.cost import cost_of_selection
        from ..records.facts import Cost

        key = (selection.label, spec)
        if key not in found:
            found[key] = ask_of(selection.label, cost_of_selection, selection, spec, kinds=(Cost,))
        return found[key]

    return count


def _checked(one: CheckedFile) -> dict[str, object]:
    return {"file": str(one.path), "kind": one.kind, "faults": one.lines, "unchecked": one.unchecked}


def _tell_checked(checked: list[CheckedFile]) -> None:
    """The faults of each file, what had to be left unchecked in any, and the sum of it."""
    for line in (line for one in checked for line in one.lines):
        tell(line)
    for note, number in Counter(note for one in checked for note in one.unchecked).items():
        tell(f"left unchecked: {note}{f' ({number} files)' if number > 1 else ''}")
    counts = Counter(one.kind for one in checked)
    files = ", ".join(f"{number} {kind}{'s' * (number != 1)}" for kind, number in sorted(counts.items()))
    faults, bad = sum(len(one.faults) for one in checked), sum(bool(one.faults) for one in checked)
    told = f"{count(faults, 'fault')} in {bad} of them." if bad else _NO_FAULT
    tell(f"{files} checked: {told}")


@records_app.command(
    gives="ditbench.cli.answers.records:SubmittedRecords",
    epilog="Example: ditbench records submit runs/digits --by NAME",
)
def submit(
    run_dir: Annotated[Path, typer.Argument(help="A run's directory, a folder of runs, or one of profiles.")],
    by: By,
    weights_url: Annotated[str | None, typer.Option(help="https:// address of ema.safetensors.")] = None,
    to: Annotated[Path, typer.Option(help="The leaderboard's folder, in a checkout of ditbench.")] = Path(
        "leaderboard"
    ),
    as_json: AsJson = False,
) -> None:
    """Copy runs' records and grids of samples, or profiles, into the leaderboard: nothing else, and nothing of this
    machine."""
    from ..records.profile_submission import profile_files
    from ..records.submission import submit as copy
    from ..records.verification import check_name

    check_name(by)
    if profile_files(run_dir):
        _submit_profiles(run_dir, by, to, weights_url, as_json)
        return
    found = copy(run_dir, by, to, weights_url, registry=installed())
    records, page = str(to / "records"), str(to.parent / "README.md")  # the table in the README is made from them, too
    commands = [
        ["ditbench", "records", "validate", records],
        ["ditbench", "leaderboard", "build", records, "--out", str(to), "--page", page],
        ["git", "add", str(to), page],
    ]
    warnings = [warning for one in found for warning in one.warnings]
    told = f"{count(len(found), 'record')} in {records}"
    _tell_submitted(told, [one.record_path for one in found], warnings, commands, as_json)


def _submit_profiles(place: Path, by: str, to: Path, weights_url: str | None, as_json: bool) -> None:
    from ..records.profile_submission import submit_profiles

    if weights_url is not None:
        raise BadValue("--weights-url is of a run: profiles have no weights.")
    found = submit_profiles(place, by, to, registry=installed())
    warnings = [
        f"{path.name} was timed with code that no commit has"
        for profile, path in found
        if profile.environment and profile.environment.git_dirty is not False
    ]
    commands = [["ditbench", "records", "validate", str(to)], ["git", "add", str(to)]]
    told = f"{count(len(found), 'profile')} in {to / 'profiles'}"
    _tell_submitted(told, [path for _, path in found], warnings, commands, as_json)


def _tell_submitted(
    told: str, files: list[Path], warnings: list[str], commands: list[list[str]], as_json: bool
) -> None:
    """What is there now, what a reviewer will ask, and what is to be done next."""
    from .answers.records import SubmittedRecords

    following = list(map(shlex.join, commands))
    if as_json:
        tell_json(SubmittedRecords(files=[str(path.absolute()) for path in files], warnings=warnings, next=following))
        return
    for warning in warnings:
        tell(f"Mind: {warning}.")
    tell(f"{told}. Next:")
    for command in following:
        tell(f"  {command}")
    tell("then commit, and open a pull request.")


@records_app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.records:VerifyAnswer",
    epilog="Example: ditbench records verify RECORD.json --weights ema.safetensors --by NAME",
)
@offers(PlaceOptions)
def verify(
    record: Annotated[Path, typer.Argument(help="The record, as the leaderboard has it.")],
    by: By,
    weights: Annotated[Path | None, typer.Option(help="Its ema.safetensors: measure it again.")] = None,
    run: Annotated[Path | None, typer.Option(help="Directory of the same run, trained again.")] = None,
    as_json: AsJson = False,
    **options: Unpack[PlaceOptions],
) -> None:
    """Check somebody's run by its published weights, or by training it again, and write what was found beside it.

    Data, reference, device and network are for measuring its weights again.
    """
    from ..records.files import FILE_NAME
    from ..records.verification import re_trained, write_verification
    from ..runtime.devices import refuse_absent
    from ..tracks.plan import check_device

    check_device(options["device"])
    refuse_absent(options["device"])
    registry = installed()
    checked = _sound(record, registry)
    if weights is not None and run is None:
        found = _measure_again(checked, weights, by, registry, **options)
    elif run is not None and weights is None:
        found = re_trained(checked, _sound(run / FILE_NAME, registry), by)
    else:
        raise BadValue("Give either --weights, to measure again, or --run, which was trained again.")
    _tell(checked, found, write_verification(found, record.parent), as_json)


def _tell(record: Record, found: Verification, path: Path, as_json: bool) -> None:
    """Show what was found and where it was written; exit code 1 if it does not confirm the record."""
    from .answers.records import VerifyAnswer

    if as_json:
        submitted = record.submission is not None
        tell_json(VerifyAnswer(file=str(path.absolute()), submitted=submitted, verification=found))
    else:
        _show(found)
    if record.submission is None:
        tell("Mind: this record is not submitted; once it is, its sha256 is another, and this is of no record.")
    tell(f"{found.tier}: {'confirmed' if found.confirmed else 'not confirmed'} -> {path}")
    if not found.confirmed:
        raise typer.Exit(EXIT_FAILED)


def _sound(path: Path, registry: Registry) -> Record:
    """A record in which nothing is wrong."""
    from ..records.record import read_record
    from ..records.validation.files import check_file

    record = read_record(path)
    faults = check_file(path, registry).lines
    if faults:
        raise BadFile(f"{faults[0]}. {count(len(faults), 'such fault')}; see `ditbench records validate`.")
    return record


def _measure_again(
    record: Record, weights: Path, by: str, registry: Registry, **options: Unpack[PlaceOptions]
) -> Verification:
    from ..registry import pick
    from ..tracks.lookup import extractors_of
    from .console import make_console

    console = make_console()
    for name in extractors_of(record.track, registry):
        fetch_weights(console, pick("extractor", name, registry.extractors), options["offline"])

    from ..executors.verifying import re_evaluate

    with console.status("sampling and measuring"):
        return re_evaluate(record, weights, by, **options)


def _show(found: Verification) -> None:
    from .console import make_console, make_table, plain

    table = make_table("metric", "in the record", "found", "may differ by", "")
    for one in found.compared:
        numbers = (f"{number:.6g}" for number in (one.recorded, one.found, one.allowed))
        table.add_row(*map(plain, (one.protocol, *numbers, "agrees" if one.agrees else "differs")))
    make_console().print(table)
