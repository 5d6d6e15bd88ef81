"""The command line: the only file that prints, exits, or imports late."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .builtins import REFERENCE_ARCHITECTURES
from .errors import BadValue, DitbenchError

if TYPE_CHECKING:
    from rich.table import Table

    from .profile import Profile
    from .registry import Registry

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmark diffusion transformers that plug in.",
)
leaderboard_app = typer.Typer(no_args_is_help=True, help="Tables from records.")
app.add_typer(leaderboard_app, name="leaderboard")

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


class Kind(StrEnum):
    """What `ditbench list` can show."""

    architectures = "architectures"
    tracks = "tracks"
    datasets = "datasets"
    objectives = "objectives"
    samplers = "samplers"
    metrics = "metrics"
    executors = "executors"


# What differs from the input that a size was made for; shared by `sizes`, `import` and `profile`.
Resolution = Annotated[int | None, typer.Option(min=1, help="Pixels or latent cells per side.")]
Channels = Annotated[int | None, typer.Option(min=1, help="Channels of the image or latent.")]
Classes = Annotated[int | None, typer.Option(min=0, help="Classes, the null label not counted; 0: unconditional.")]
SpaceOption = Annotated[Literal["pixel", "latent"] | None, typer.Option(help="Where the denoiser works.")]
LearnVariance = Annotated[bool | None, typer.Option(help="Whether the output has the variance's channels, too.")]


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; a bug keeps its traceback."""
    try:
        app()
    except DitbenchError as error:
        typer.echo(f"ditbench: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)


@app.command()
def run(
    plugins: Annotated[
        str, typer.Option(help="Architectures: name[:size][+option=value], separated by commas.")
    ] = ",".join(REFERENCE_ARCHITECTURES),
    track: Annotated[str, typer.Option(help="Track; see `ditbench list tracks`.")] = "digits",
    budget: Annotated[str | None, typer.Option(help="2000-steps, 50k-images or 90s instead of the track's.")] = None,
    seeds: Annotated[str, typer.Option(help="Training seeds, separated by commas.")] = "0",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for runs and leaderboard.")] = Path("runs"),
    keep_samples: Annotated[bool, typer.Option("--keep-samples", help="Write samples.npz (ADM layout).")] = False,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds of training between checkpoints.")] = 20.0,
    force: Annotated[bool, typer.Option("--force", help="Start finished and interrupted runs over.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A faulty plugin is an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the table.")] = False,
    executor: Annotated[str, typer.Option(help="process, or inline for debugging.")] = "process",
) -> None:
    """Train, sample, measure and rank architectures on a track.

    Finished runs are skipped and interrupted ones resumed. Exit code 1: some run did not finish.
    """
    from . import campaign
    from .console import make_console
    from .display import Lines, Live, print_boards
    from .leaderboard import on_the_boards_of
    from .record import read_runs

    console = make_console()
    listener = campaign.Silent() if quiet else Live(console) if console.is_terminal else Lines(console)
    try:
        records = campaign.run(
            track,
            plugins.split(","),
            _parse_seeds(seeds),
            budget=budget,
            device=device,
            out=out,
            checkpoint_seconds=checkpoint_every,
            keep_samples=keep_samples,
            force=force,
            strict=strict,
            executor=executor,
            listener=listener,
        )
    except KeyboardInterrupt:
        listener.close()
        how = "without --force" if force else "again"
        typer.echo(f"Interrupted. The same command {how} resumes where it stopped.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        listener.close()
    folder = out / records[0].track.name
    print_boards(console, on_the_boards_of(records, read_runs(folder)))
    typer.echo(f"Records, grids and leaderboard.md in {folder}")
    if any(record.status != "finished" for record in records):
        raise typer.Exit(EXIT_FAILED)


@app.command(name="list")
def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.architectures) -> None:
    """Show what is installed."""
    from .console import make_console, make_table, plain

    registry, console = _registry(), make_console()
    if kind is Kind.architectures:
        console.print(_architectures(registry))
    elif kind is Kind.tracks:
        console.print(_tracks(registry))
    else:
        table = make_table("name", "description")
        for name, component in getattr(registry, kind.value).items():
            table.add_row(plain(name), plain(component.description))
        console.print(table)


@app.command()
def plugins(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 if any plugin is faulty.")] = False,
) -> None:
    """List installed plugins, what they provide, and what is wrong with the faulty ones."""
    from .console import make_console, make_table, plain
    from .registry import Registry

    registry = Registry.installed()
    table = make_table("plugin", "distribution", "version", "state", "provides")
    for plugin in registry.plugins:
        state = f"faulty: {plugin.fault}" if plugin.fault else "ok"
        cells = (plugin.name, plugin.distribution, plugin.version, state, ", ".join(plugin.provides))
        table.add_row(*map(plain, cells))
    make_console().print(table)
    if strict and registry.faults:
        raise typer.Exit(EXIT_BAD_INPUT)


@app.command()
def sizes(
    plugins: Annotated[
        str, typer.Argument(help="name[:size][+option=value], separated by commas; all sizes if none is named.")
    ] = "",
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
) -> None:
    """Show what architectures cost: parameters and multiply-accumulates, counted here and now.

    Each size is counted on the input that it was made for, unless told otherwise.
    """
    from .console import make_console, make_table, plain
    from .sizes import HEADERS, count_sizes

    registry, console = _registry(), make_console()
    changes = _changes(resolution, channels, classes, space, learn_variance)
    table = make_table(*HEADERS)
    for text in plugins.split(",") if plugins else registry.architectures:
        with console.status(f"Counting {plain(text)}"):
            for size in count_sizes(registry, text, changes):
                table.add_row(*map(plain, size.cells))
    console.print(table)


@app.command(name="import")
def import_(
    architecture: Annotated[str, typer.Argument(help="What the checkpoint is of: name:size[+option=value]...")],
    checkpoint: Annotated[Path, typer.Argument(help="A published file: safetensors, or what torch.save wrote.")],
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    weights: Annotated[
        Literal["ema", "raw"] | None, typer.Option(help="Which weights of a training checkpoint; ema if not said.")
    ] = None,
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
) -> None:
    """Turn a published checkpoint into weights of ours; every tensor must be there, in its shape."""
    from .plan import select
    from .published import import_checkpoint

    selection = select(_registry(), architecture)
    spec = selection.spec(_changes(resolution, channels, classes, space, learn_variance))
    done = import_checkpoint(selection, spec, checkpoint, out, weights)
    stated = f"{done.weights} weights" if done.weights != "unstated" else "weights (EMA or raw: the file does not say)"
    typer.echo(f"{selection.label}: {done.parameters:,} numbers, {stated} -> {out}")


@app.command()
def profile(
    architectures: Annotated[list[str], typer.Argument(help="name:size[+option=value]...")],
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    steps: Annotated[int, typer.Option(min=4, help="Timed steps of each kind.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before them, besides the first.")] = 5,
    precision: Annotated[Literal["float32", "bfloat16"], typer.Option(help="bfloat16: autocast.")] = "float32",
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile, as one graph.")] = False,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where.")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for records and table.")] = Path("profiles"),
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
) -> None:
    """Time architectures in training and inference: throughput, peak memory, MACs, MFU. Needs no data.

    One clean process each, in random order. Exit code 1: some could not be timed.
    """
    from .console import make_console, make_table, plain
    from .plan import select
    from .profile import Setup, run_profiles, table, write_profile, write_table
    from .storage import make_writable

    registry, console = _registry(), make_console()
    chosen = [select(registry, text) for text in architectures]
    labels = [selection.label for selection in chosen]
    if len(set(labels)) < len(labels):
        raise BadValue(f"One architecture stands twice: {', '.join(labels)}.")
    changes = _changes(resolution, channels, classes, space, learn_variance)
    setups = [
        Setup(
            spec=selection.spec(changes),
            batch_size=batch_size,
            steps=steps,
            warmup=warmup,
            precision=precision,
            compile=compile_,
            device=device,
        )
        for selection in chosen
    ]
    make_writable(out)
    profiles: list[Profile] = []
    try:
        for found in run_profiles(chosen, setups):
            path = write_profile(found, out)
            profiles.append(found)
            typer.echo(f"[{len(profiles)}/{len(chosen)}] {found.label}: {found.reason or path}")
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was timed before is kept.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        if profiles:
            write_table(out, setups[0])
    frame = table(profiles)
    shown = make_table(*(str(column) for column in frame.columns))
    for row in frame.itertuples(index=False):
        shown.add_row(*map(plain, row))
    console.print(shown)
    if any(found.reason for found in profiles):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def diff(
    one: Annotated[Path, typer.Argument(help="A record.")],
    other: Annotated[Path, typer.Argument(help="Another record.")],
) -> None:
    """Show what two runs did not do alike, most suspicious first: why their numbers may differ."""
    from .console import make_console, make_table, plain
    from .difference import differences
    from .record import read_record

    found = differences(read_record(one), read_record(other))
    if not found:
        typer.echo("The two records name the same protocol.")
        return
    table = make_table("field", plain(one), plain(other))
    for difference in found:
        table.add_row(*map(plain, (difference.field, _value(difference.one), _value(difference.other))))
    make_console().print(table)


@leaderboard_app.command()
def build(
    records: Annotated[Path, typer.Argument(help="Folder with records, searched through and through.")],
    out: Annotated[Path, typer.Option(help="Folder for README.md and leaderboard.csv.")],
) -> None:
    """Make the leaderboard's tables from records alone."""
    from .leaderboard import CSV_FILE, MARKDOWN_FILE, write_leaderboard
    from .record import read_records
    from .storage import make_writable

    found = read_records(records)
    make_writable(out)
    write_leaderboard(found, out, MARKDOWN_FILE, CSV_FILE)
    typer.echo(f"{len(found)} records -> {out / MARKDOWN_FILE}, {out / CSV_FILE}")


def _registry() -> Registry:
    """What is installed; what is faulty is told."""
    from .registry import Registry

    registry = Registry.installed()
    for plugin in registry.faults:
        typer.echo(f"ditbench: left out {plugin.label}: {plugin.fault}", err=True)
    return registry


def _parse_seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadValue(f"--seeds {text!r} is no list of whole numbers such as 0,1,2.") from None


def _changes(
    resolution: int | None, channels: int | None, classes: int | None, space: str | None, learn_variance: bool | None
) -> dict[str, int | str]:
    given = {
        "resolution": resolution,
        "channels": channels,
        "classes": classes,
        "space": space,
        "learn_variance": learn_variance,
    }
    return {name: value for name, value in given.items() if value is not None}


def _value(value: object) -> str:
    text = "-" if value is None else str(value)
    return f"{text[:12]}..." if re.fullmatch("[0-9a-f]{40,64}", text) else text


def _architectures(registry: Registry) -> Table:
    from .components import spell
    from .console import make_table, plain

    table = make_table("architecture", "sizes", "options", "from", "paper")
    for name, architecture in registry.architectures.items():
        options = "\n".join(
            f"{key}={'|'.join(spell(choice) for choice in option.choices) or _example(option.default)}"
            for key, option in architecture.options.items()
        )
        plugin = registry.provider(name)
        source = f"{plugin.distribution} {plugin.version}"
        table.add_row(*map(plain, (name, ", ".join(architecture.sizes), options, source, architecture.paper)))
    return table


def _example(default: object) -> str:
    return "on|off" if isinstance(default, bool) else f"{default}"


def _tracks(registry: Registry) -> Table:
    from .console import make_table, plain
    from .plan import resolve_track

    table = make_table("track", "version", "hash", "budget", "size", "description")
    for name in registry.tracks:
        try:
            track = resolve_track(registry, name)
        except DitbenchError as error:
            table.add_row(plain(name), "", "", "", "", plain(f"faulty: {error}"))
            continue
        cells = (name, track.version, track.hash, track.budget, track.size, track.description)
        table.add_row(*map(plain, cells))
    return table


if __name__ == "__main__":
    main()
