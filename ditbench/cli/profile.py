"""`ditbench profile`: time, memory and energy of architectures."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import BadValue, for_a_line
from .app import COMPARE, EXIT_FAILED, EXIT_INTERRUPTED, app, installed
from .options import (
    Architectures,
    AsJson,
    Channels,
    Classes,
    Device,
    Frames,
    LearnVariance,
    Resolution,
    SpaceOption,
    as_flags,
    parse_architectures,
    parse_batch_sizes,
    spec_changes,
)
from .output import tell, tell_json, warn

if TYPE_CHECKING:
    from rich.console import Console

    from ..profiling.profiler import ProfileTask
    from ..records.profile import Phase, Profile
    from ..tracks.track import Track


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.runs:ProfileAnswer",
    rich_help_panel=COMPARE,
    epilog="Example: ditbench profile dit:S/2 uvit:S/2 --batch-size 8",
)
def profile(
    architectures: Architectures,
    track: Annotated[
        str | None, typer.Option(help="Whose input, size, batch size and precision, where none is given.")
    ] = None,
    batch_size: Annotated[
        str, typer.Option(metavar="N,N", help="Images per step, one or several numbers; the track's, or 8.")
    ] = "",
    steps: Annotated[int, typer.Option(min=4, max=1_000_000, help="Timed steps of each kind.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, max=1_000_000, help="Steps before them, besides the first.")] = 5,
    precision: Annotated[
        Literal["float32", "tf32", "bfloat16", "auto"] | None,
        typer.Option(help="bfloat16: autocast; tf32: on GPUs; auto: as the device suggests. The track's, or float32."),
    ] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile, of the repeated blocks.")] = False,
    real_loss: Annotated[
        bool, typer.Option("--real-loss", help="The track's objective in place of a stand-in, and its sampler's steps.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, max=1e9, show_default="no limit", help="Limit for each; what takes longer is stopped."),
    ] = None,
    device: Device = "auto",
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Repeats the random order of an earlier command.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for records, tables and plot.")] = Path("profiles"),
    resolution: Resolution = None,
    channels: Channels = None,
    classes: Classes = None,
    space: SpaceOption = None,
    learn_variance: LearnVariance = None,
    frames: Frames = None,
    as_json: AsJson = False,
) -> None:
    """Time architectures in training and inference: throughput, peak memory, MACs, MFU, energy. Needs no data.

    One clean process each, at each batch size, in random order. Exit code 1: some could not be timed.
    """
    from ..profiling.profiler import plan_profiles
    from ..records.profile import How, read_profiles
    from ..registry import select
    from ..runtime.devices import any_driver
    from ..storage.files import make_writable
    from ..tracks.lookup import resolve_track
    from .console import make_console

    registry, console = installed(), make_console()
    _refuse_tf32(precision, device if device != "auto" or any_driver() else "cpu")
    chosen = resolve_track(registry, track) if track else None
    selections = [select(registry, text, chosen.size if chosen else "") for text in parse_architectures(architectures)]
    how = How(
        batch_size=chosen.recipe.batch_size if chosen else 8,
        steps=steps,
        warmup=warmup,
        precision=precision or (chosen.recipe.precision if chosen else "float32"),
        compile=compile_,
        device=device,
        **(_of_track(chosen) if real_loss else {}),
    )
    sizes = parse_batch_sizes(batch_size) or [how.batch_size]
    hows = [how.model_copy(update={"batch_size": size}) for size in sizes]
    changes = spec_changes(resolution, channels, classes, space, learn_variance, frames)
    with console.status("Checking every network (the libraries take about 10 s to load, once)"):
        drawn = secrets.randbelow(2**32) if seed is None else seed
        tasks = plan_profiles(registry, selections, hows, drawn, chosen, changes)
    _refuse_tf32(precision, tasks[0].setup.device)  # which torch has found
    make_writable(out)
    modes = sorted({task.setup.mode for task in tasks})
    for mode in modes:
        read_profiles(out, mode)  # a damaged one that would spoil the tables is told now
    profiles: list[Profile] = []
    try:
        _time(tasks, seconds or float("inf"), profiles, out, console)
    except KeyboardInterrupt:
        warn("Interrupted. What was timed before is kept.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        _show(profiles, out, modes, console)
    if as_json:
        _tell_profiles(profiles, out.absolute(), modes)
    if any(found.reason for found in profiles):
        raise typer.Exit(EXIT_FAILED)


def _refuse_tf32(asked: str | None, device: str) -> None:
    """`BadValue` if TF32 was named for a CPU. A track's own becomes what the device has, as in a run."""
    if asked == "tf32" and device.startswith("cpu"):
        raise BadValue(
            f"--precision 'tf32' is of CUDA's GPUs: device {device!r} has none, and would compute in float32. "
            "Name that one, or another --device."
        )


def _of_track(track: Track | None) -> dict[str, Any]:
    if track is None:
        raise BadValue("--real-loss is that of a track: name one with --track.")
    return {"objective": track.objective, "sampler": track.sampler}


def _time(tasks: list[ProfileTask], seconds: float, profiles: list[Profile], out: Path, console: Console) -> None:
    """Time one after the other, keeping what is done in `profiles` and in the folder."""
    from ..profiling.profiler import run_profiles
    from ..records.profile import write_profile
    from .console import plain

    first = tasks[0]
    tell(f"{len(tasks)} to time on {first.setup.device}, in the order of --seed {first.turn.seed}")
    running = run_profiles(tasks, seconds)
    for number, task in enumerate(tasks, start=1):
        with console.status(f"[{number}/{len(tasks)}] {plain(task.label)}, batch {task.setup.batch_size}"):
            found = next(running)
        profiles.append(found)  # first: what can't be written is shown all the same
        path = write_profile(found, out)
        tell(f"[{number}/{len(tasks)}] {found.label}: {as_flags(found.reason) if found.reason else path}")


def _show(profiles: list[Profile], out: Path, modes: list[str], console: Console) -> None:
    """What this command timed on the screen; page and plot of all profiles of each mode in the folder."""
    from ..profiling.tables import tables
    from .console import make_table, plain

    for title, frame in tables([found for found in profiles if not found.reason]).items():
        shown = make_table(*(plain(column) for column in frame.columns), title=title)
        for row in frame.itertuples(index=False):
            shown.add_row(*(plain(as_flags(str(cell))) for cell in row))
        console.print(shown)
    for found in profiles:
        if found.reason:  # whole, in a line: a table's cell would fold it
            told = for_a_line(as_flags(f"not timed: {found.label}, {found.setup.spec}: {found.reason}"))
            console.print(plain(told), highlight=False, soft_wrap=True)
    for mode in modes:
        _write_page(out, mode)


def _tell_profiles(profiles: list[Profile], out: Path, modes: list[str]) -> None:
    from ..records.profile import file_name
    from .answers.runs import ProfileAnswer, ProfileRow

    rows = [
        ProfileRow(
            architecture=one.label,
            batch_size=one.setup.batch_size,
            mode=one.setup.mode,
            spec=str(one.setup.spec),
            record=str(out / file_name(one)),
            reason=as_flags(one.reason) if one.reason else None,
            training_images_per_second=_rate(one.training, one),
            inference_images_per_second=_rate(one.inference, one),
            mfu=one.utilisation(),
            parameters=one.cost.parameters if one.cost else None,
            macs_per_image=one.cost.macs_per_image if one.cost else None,
        )
        for one in profiles
    ]
    tell_json(ProfileAnswer(profiles=rows, pages=[str(_page(out, mode)) for mode in modes]))


def _rate(phase: Phase | None, profile: Profile) -> float | None:
    """Images per second, the median."""
    return None if phase is None else phase.images_per_second(profile.setup.images)[1]


def _page(out: Path, mode: str) -> Path:
    return out / f"profile-{mode}.md"


def _write_page(out: Path, mode: str) -> None:
    from ..profiling.plot import write_plot
    from ..profiling.tables import write_page
    from ..records.profile import read_profiles

    everything = read_profiles(out, mode)
    if not everything:  # Ctrl-C came early
        return
    page = _page(out, mode)
    plot = page.with_suffix(".png")
    drawn = write_plot(everything, plot)
    write_page(everything, page, plot.name if drawn else None)
    tell(f"Tables in {page}" + (f", plot in {plot}" if drawn else ""))
