"""`ditbench evaluate RUN --guidance SCALES`: one run's weights at a grid of scales, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadFile, BadValue
from .app import fetch_weights, installed
from .options import parse_numbers
from .output import tell, tell_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from ..records.guidance import GuidanceCurve
    from ..records.record import Record
    from ..runtime.progress import Progress as Told
    from ..tracks.options import PlaceOptions

_TAKES = ("samples", "guidance", "force", "as_json", "data", "reference", "device", "offline")  # all else is the run's


def draw_curve(ctx: Any, run: Path, scales: str, force: bool, as_json: bool, options: PlaceOptions) -> None:
    """Measure a run at scales of guidance, and show all points that there are."""
    from ..records.files import FILE_NAME
    from ..records.guidance import check_guidable, check_scales, file_name
    from ..records.record import read_record
    from ..runtime.devices import refuse_absent
    from ..tracks.plan import check_device
    from .console import make_console

    asked = parse_numbers("--guidance", scales, "scales such as 1,1.5,2")
    check_scales(asked)
    _refuse_others(ctx)
    check_device(options["device"])
    refuse_absent(options["device"])
    if not (run / FILE_NAME).is_file():
        raise BadFile(f"{str(run)!r} is no run's folder: --guidance needs one, with its {FILE_NAME} and its weights.")
    record = read_record(run / FILE_NAME)
    check_guidable(record)
    console = make_console()
    _fetch(console, record, options["offline"])

    from ..executors.verifying import guidance_curve

    with _progress(console, as_json) as hear:
        curve = guidance_curve(run, asked, force=force, hear=hear, **options)
    if as_json:
        tell_json(curve.model_dump(mode="json"))
        return
    _show(console, curve, record)
    tell(f"Curve in {run / file_name(curve.run_id)}")


def _refuse_others(ctx: Any) -> None:
    """`BadValue` for an option that would make something else of the run."""
    for one in ctx.command.params:
        given = ctx.get_parameter_source(one.name)
        if one.name not in _TAKES and given is not None and given.name == "COMMANDLINE":
            flag = next(name for name in one.opts if name.startswith("--"))
            raise BadValue(f"{flag} does not go with --guidance: all but the scale is as in the run.")


def _fetch(console: Console, record: Record, offline: bool) -> None:
    from ..registry import pick
    from ..tracks.lookup import extractors_of

    registry = installed()
    for name in extractors_of(record.track, registry):
        fetch_weights(console, pick("extractor", name, registry.extractors), offline)


@contextmanager
def _progress(console: Console, quiet: bool) -> Iterator[Callable[[float, Told], None]]:
    """A bar for each scale, which tells what is done for it; on no terminal, nothing."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("guidance {task.fields[scale]}: {task.description}"), BarColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        tasks: dict[float, TaskID] = {}

        def hear(scale: float, told: Told) -> None:
            if scale not in tasks:
                tasks[scale] = bars.add_task("", total=1.0, scale=f"{scale:g}")
            bars.update(tasks[scale], description=told.stage, completed=told.done)

        yield hear


def _show(console: Console, curve: GuidanceCurve, record: Record) -> None:
    from .console import make_table, plain

    first = curve.points[0]
    arrows = {True: "↑", False: "↓"}
    headers = [f"{one.protocol} {arrows[one.higher_is_better]}" for one in first.metrics]
    table = make_table("scale", "NFE", *map(plain, headers))
    for point in curve.points:
        values = (f"{one.value:.6g}" for one in point.metrics)
        table.add_row(*map(plain, (f"{point.scale:g}", point.sampling.evaluations, *values)))
    console.print(table)
    own = record.sampling.images_sha256 if record.sampling else ""
    same = [f"{point.scale:g}" for point in curve.points if point.sampling.images_sha256 == own]
    if same:
        tell(f"At {same[0]} the images are the run's own, to the last bit.")
