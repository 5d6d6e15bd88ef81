"""`ditbench evaluate`: score images that exist, a checkpoint, or a finished run at scales of guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ..errors import BadValue, DitbenchError
from . import completion
from .app import SCORE, app, fetch_weights, installed
from .guidance import draw_curve
from .options import AsJson, Device, Offline, as_flags
from .output import tell, tell_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from ..benchmark.evaluation import StageCallback
    from ..benchmark.generation import Checkpoint
    from ..components import Extractor, Metric
    from ..records.evaluation import Evaluation
    from ..records.facts import Measurement
    from ..registry import Registry
    from ..tracks.options import PlaceOptions, RunOptions


EXTRACTOR = "inception-v3-compat"  # of nearly all published FIDs


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.images:EvaluateAnswer",
    rich_help_panel=SCORE,
    epilog="Example: ditbench evaluate SAMPLES.npz --reference REAL.npz",
)
def evaluate(
    ctx: typer.Context,
    samples: Annotated[
        Path, typer.Argument(help="Folder of PNGs, .npz with arr_0, a checkpoint's safetensors, or a run's folder.")
    ],
    reference: Annotated[
        str, typer.Option(help="Folder, .npz (arr_0, or mu and sigma), or, for files, a data set; a track has its own.")
    ] = "",
    features: Annotated[
        str,
        typer.Option(
            help="Extractor; see `ditbench list extractors`.",
            autocompletion=completion.extractors,
            show_default=EXTRACTOR,
        ),
    ] = "",
    metrics: Annotated[str, typer.Option(help="Metrics, separated by commas; the extractor's own if not said.")] = "",
    weights: Annotated[Path | None, typer.Option(help="The extractor's file of weights, if not in the cache.")] = None,
    offline: Offline = False,
    architecture: Annotated[str, typer.Option(help="Of a checkpoint: name[:size][+option=value]...")] = "",
    track: Annotated[str, typer.Option(help="Of a checkpoint: how it is sampled.")] = "",
    data: Annotated[str, typer.Option(help="Of a checkpoint: where its track's data is; see `ditbench run`.")] = "",
    ruleset: Annotated[str, typer.Option(help="Of a checkpoint: whose recipe it was trained with.")] = "matched",
    count: Annotated[
        int | None, typer.Option(min=20, max=10_000_000, help="Of a checkpoint: images to sample.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of a checkpoint: of the images.")] = 0,
    floor: Annotated[bool, typer.Option(help="Also score random halves of the real images.")] = True,
    allow_jpeg: Annotated[bool, typer.Option("--allow-jpeg", help="Score lossy images, and mark them.")] = False,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images in one pass of the extractor.")] = 100,
    out: Annotated[Path, typer.Option(help="Folder for the record.")] = Path("evaluations"),
    guidance: Annotated[
        str | None,
        typer.Option(metavar="1,1.5,2", help="Of a run: sample it again at these scales; 1 is no guidance."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --guidance: measure scales again that are there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure FID, KID, IS, precision and recall of generated images against real ones."""
    if guidance is not None:
        of_run: PlaceOptions = {"data": data, "reference": reference, "device": device, "offline": offline}
        draw_curve(ctx, samples, guidance, force, as_json, of_run)
        return
    if force:
        raise BadValue("--force measures points of --guidance again; without that there are none.")
    from ..records.evaluation import write_evaluation
    from ..registry import pick
    from ..runtime.devices import refuse_absent
    from ..storage.files import make_writable, temporary_folder
    from ..tracks.plan import check_device
    from .console import make_console

    registry, console = installed(), make_console()
    extractor = pick("extractor", features or EXTRACTOR, registry.extractors)
    chosen = tuple(pick("metric", name, registry.metrics) for name in metrics.split(",")) if metrics else ()
    check_device(device)
    refuse_absent(device)
    _check_source(samples, architecture, track, data, reference)
    if not architecture and not features:
        _check_default(reference, registry)
    if weights is None:
        fetch_weights(console, extractor, offline)
    make_writable(out)
    place = out.absolute()  # a plugin may change the working directory
    of: RunOptions = {
        "samples": count,
        "device": device,
        "data": data,
        "reference": reference,
        "ruleset": ruleset,
        "offline": offline,
    }
    with temporary_folder() as folder:
        opened = _opened(samples, architecture, track, seed, of, registry, folder, console)
        how = _How(extractor, chosen, device, weights, floor, allow_jpeg, batch_size, offline)
        found = _scored(opened, how, registry, console)
    if as_json:
        tell_json(found.model_dump(mode="json"))
    else:
        _show(console, found)  # first: a disk that has become full loses no number
    path = write_evaluation(found, place)
    if not as_json:
        tell(f"Record in {out / path.name}")


class _How(NamedTuple):
    """How images are scored, whatever they are."""

    extractor: Extractor
    metrics: tuple[Metric, ...]
    device: str
    weights: Path | None
    floors: bool
    allow_jpeg: bool
    batch_size: int
    offline: bool


def _check_source(samples: Path, architecture: str, track: str, data: str, reference: str) -> None:
    """`BadValue` if it is neither a checkpoint with its track, nor files with real images."""
    if samples.suffix == ".safetensors" and not (architecture or track):
        raise BadValue(
            f"{str(samples)!r} has weights, which are sampled first: name their network with --architecture "
            "NAME:SIZE, and with --track the track that says how."
        )
    if bool(architecture) != bool(track):
        raise BadValue("A checkpoint needs both --architecture and --track; files of images need neither.")
    if not architecture and data:
        raise BadValue("--data belongs to a checkpoint's track; files of images have none.")
    if not architecture and not reference:
        raise BadValue("Samples are scored against real images: name them with --reference.")


def _check_default(reference: str, registry: Registry) -> None:
    """`BadValue` if the real images are a data set that its tracks measure with another extractor of ditbench's own.

    The usual one was made for photos and says little of digits; whoever wants it all the same can name it.
    """
    own = _extractors_of(reference.partition(":")[0], registry)
    if own and EXTRACTOR not in own:
        flags = " or ".join(f"--features {extractor}" for extractor in own)
        raise BadValue(f"{reference!r} are images that are measured with {flags}; {EXTRACTOR} is made for photos.")


def _extractors_of(dataset: str, registry: Registry) -> list[str]:
    """What the tracks of a small data set measure it with, if that comes with ditbench; else nothing."""
    from ..tracks.lookup import resolve_track

    found: dict[str, None] = {}
    for name in registry.tracks:
        with suppress(DitbenchError):  # a faulty track is not asked for here
            track = resolve_track(registry, name)
            if track.data.dataset.partition(":")[0] == dataset:
                found[track.evaluation.features] = None
    shipped = all(name in registry.extractors and registry.extractors[name].weights.package for name in found)
    return list(found) if shipped else []


def _opened(
    samples: Path,
    architecture: str,
    track: str,
    seed: int,
    of: RunOptions,
    registry: Registry,
    folder: Path,
    console: Console,
) -> Checkpoint:
    """The images: those that there are, or what a checkpoint is to draw."""
    from ..asking import ask_of
    from ..benchmark.generation import Checkpoint, open_checkpoint
    from ..datasets.image_sets import open_images

    if not architecture:
        return Checkpoint(open_images(samples), {}, of["reference"])

    def drawn(drawing: Callable[[StageCallback], None]) -> None:
        with progress(console) as report:
            drawing(report)

    work = partial(ask_of, architecture, drawn, seconds=None)
    return open_checkpoint(samples, architecture, track, registry, folder, seed, work, **of)


def _scored(opened: Checkpoint, how: _How, registry: Registry, console: Console) -> Evaluation:
    from ..benchmark.evaluation import EvaluationRequest, evaluate

    request = EvaluationRequest(
        samples=opened.images,
        generated=opened.how,
        reference=opened.reference,
        precision=opened.precision,
        interval=opened.interval,
        **how._asdict(),
    )
    with progress(console) as report:
        return evaluate(request, registry, report)


@contextmanager
def progress(console: Console) -> Iterator[StageCallback]:
    """A bar for each stage; on no terminal, nothing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, size: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=size or None)
            bars.update(tasks[stage], completed=done)

        yield report


def _show(console: Console, found: Evaluation) -> None:
    from .console import make_table, plain

    floors = {floor.metric: floor for floor in found.floors}
    table = make_table("metric", "value", "± its own", "random halves of the real images")
    for metric in found.metrics:
        arrow = "↑" if metric.higher_is_better else "↓"
        cells = (f"{metric.protocol} {arrow}", shown_number(metric.value), shown_number(metric.spread))
        table.add_row(*map(plain, (*cells, _floor(floors.get(metric.metric)))))
    console.print(table)
    notes = [f"not measured: {as_flags(reason)}" for reason in found.left_out]
    notes += [metric.remark for metric in found.metrics if metric.remark]
    if found.samples.jpeg:
        notes.append("the samples were compressed with loss: these numbers compare with nothing else")
    seconds = ", ".join(f"{part} {value:.1f} s" for part, value in found.seconds.items())
    notes.append(f"{seconds}; {found.bytes_per_image:,} bytes kept of an image")
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _floor(floor: Measurement | None) -> str:
    if floor is None:
        return ""
    name = floor.protocol.partition("/")[0]
    return f"{shown_number(floor.value)} ({name})"


def shown_number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
