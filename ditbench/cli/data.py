"""`ditbench data`: prepare data sets once, and look at what was prepared."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import completion
from .app import EXIT_INTERRUPTED, SCORE, app, fetch_weights, installed
from .options import Device, Offline, as_flags
from .output import Commands, tell_json, warn

if TYPE_CHECKING:
    from rich.console import Console

    from ..datasets.shards import Manifest
    from ..runtime.progress import CountCallback

data = Commands(no_args_is_help=True, help="Prepare data sets once, and look at what was prepared.")
app.add_typer(data, name="data", rich_help_panel=SCORE)

_LINE_EVERY = 10.0  # seconds between two lines where there is no terminal
_RECENT = 100  # reports that the speed is told from
_NAMED = 10  # skipped images that are named; the manifest names them all


@data.command(
    needs_torch=True,
    epilog="Example: ditbench data prepare IMAGENET --autoencoder kl:PLACE --resolution 256 --out LATENTS",
)
def prepare(
    source: Annotated[
        str, typer.Argument(help="Folder with one folder of images or videos per class, or of these; or hf:NAME.")
    ],
    resolution: Annotated[int, typer.Option(min=1, max=16_384, help="Pixels per side of the centre crop.")],
    out: Annotated[Path, typer.Option(help="Folder for the shards.")],
    frames: Annotated[
        int, typer.Option(min=1, max=4096, help="Of clips, cut out of the middle of videos. 1: images.")
    ] = 1,
    interval: Annotated[
        int, typer.Option(min=1, max=4096, help="Frames of the video from one of the clip to the next.")
    ] = 1,
    autoencoder: Annotated[
        str,
        typer.Option(
            "--autoencoder",
            "--vae",
            help="NAME[:PLACE], see `ditbench list autoencoders`; or the place of an AutoencoderKL. Without: pixels.",
            autocompletion=completion.autoencoders,
        ),
    ] = "",
    processes: Annotated[
        int, typer.Option(min=1, max=10_000, help="That work at once; on several machines, start it on each.")
    ] = 1,
    device: Device = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Images in one pass of the autoencoder, on a GPU.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable images out, and note them.")] = False,
    offline: Offline = False,
) -> None:
    """Crop and encode images or clips into shards: the latents of each and of its mirror image, or its pixels.

    The same command resumes what was interrupted, and shares the work with others of its kind.
    """
    from ..runtime.devices import refuse_absent
    from ..tracks.plan import check_device
    from .console import make_console

    check_device(device)
    refuse_absent(device)
    console = make_console()
    with _interruptible("the same command resumes"):
        from ..datasets.autoencoder import choose, load_autoencoder
        from ..datasets.entries import told
        from ..datasets.held_out import prepare as make
        from ..datasets.raw import cut_for
        from ..datasets.sources import check_apart, list_source
        from ..runtime.environment import find_device
        from ..runtime.memory import capacity
        from ..storage.files import whole_path

        source, out = _whole(source), whole_path(out)
        check_apart(source, out)
        raw = list_source(source, skip_bad, offline, cut_for(frames, interval))
        if others := told(raw.left_out, raw.kind):
            _say(console, others)
        capacity(found := find_device(device))  # tells what is wrong with it
        codec = None
        if autoencoder:
            opener, place = choose(autoencoder, installed())
            codec = load_autoencoder(place, offline, found, opener)
            codec.check(resolution)
        with _progress(console, raw.kind.noun) as report:
            manifest = make(
                raw,
                out,
                resolution,
                codec,
                skip_bad=skip_bad,
                offline=offline,
                processes=processes,
                batch_size=batch_size,
                report=report,
            )
    _show(console, out, manifest)
    if codec is not None and not manifest.reconstruction and raw.held_out is not None:
        _say(console, f"how close the decoded held-out {manifest.plan.noun}s are: `ditbench data floor {out}`")


@data.command(needs_torch=True, epilog="Example: ditbench data floor LATENTS --features inception-v3-compat")
def floor(
    folder: Annotated[Path, typer.Argument(help="Latents that `ditbench data prepare` has made.")],
    features: Annotated[
        str, typer.Option(help="Extractor; see `ditbench list extractors`.", autocompletion=completion.extractors)
    ] = "inception-v3-compat",
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images in one pass of the extractor.")] = 100,
    offline: Offline = False,
) -> None:
    """Measure how close held-out images and their decoded latents are, rFID and PSNR, and keep it in the manifest.

    No images that are made of such latents can be expected to be closer. Records of runs on them have it.
    """
    from ..registry import pick
    from ..runtime.devices import refuse_absent
    from ..tracks.plan import check_device
    from .console import make_console

    check_device(device)
    refuse_absent(device)
    console, extractor = make_console(), pick("extractor", features, installed().extractors)
    with _interruptible("nothing was changed"):
        from ..datasets.prepare import keep_reconstruction
        from ..metrics.features import load_extractor
        from ..metrics.reconstruction import check_measurable, measure_reconstruction
        from ..runtime.environment import find_device
        from ..storage.files import whole_path

        folder = whole_path(folder)
        check_measurable(folder)
        fetch_weights(console, extractor, offline)
        found_on = find_device(device)
        network = load_extractor(extractor, device=found_on)
        with _progress(console) as report:
            found = measure_reconstruction(folder, extractor, network, found_on, offline, batch_size, report)
        manifest = keep_reconstruction(folder, found)
    _show(console, folder, manifest)


@data.command(needs_torch=True, epilog="Example: ditbench data stats LATENTS --json")
def stats(
    folder: Annotated[Path, typer.Argument(help="What `ditbench data prepare` has made.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Read prepared data through, check it, and say what it is."""
    from .console import make_console

    with _interruptible("nothing was changed"):
        from ..datasets.prepared import verify
        from ..storage.files import whole_path

        console, folder = make_console(), whole_path(folder)
        if as_json:
            prepared = verify(folder)
        else:
            with _progress(console) as report:
                prepared = verify(folder, report)
    manifest = prepared.manifest
    if as_json:
        facts = {"sha256": manifest.sha256, "kind": manifest.plan.kind, "bytes_per_image": _bytes_per_image(manifest)}
        tell_json({**facts, **manifest.model_dump(mode="json")})
        return
    _show(console, folder, manifest)
    counts = sorted(Counter(prepared.labels.tolist()).values())
    if manifest.plan.class_names:
        _say(console, f"{counts[0]:,} to {counts[-1]:,} {manifest.plan.noun}s of a class")
    _say(console, f"verified: the checksums of {len(manifest.shards):,} shards, their labels, the statistics")


@data.command(needs_torch=True, epilog="Example: ditbench data verify LATENTS")
def verify(
    folder: Annotated[
        Path, typer.Argument(help="What `ditbench data prepare` has made, or a folder of images or videos.")
    ],
    offline: Offline = False,
) -> None:
    """Read prepared data through, and all images that they were made of: nothing that is remembered is believed.

    Of a folder of images: what a run has prepared of it, in the cache.
    """
    from .console import make_console

    console = make_console()
    with _interruptible("nothing was changed"):
        from ..datasets.prepared import compare_source, made_of
        from ..datasets.prepared import verify as read_through

        with _progress(console) as report:
            prepared = read_through(made_of(str(folder)), report)
        with _progress(console) as report:
            compared = compare_source(prepared, offline, report)
    _say(console, f"{prepared.folder}: verified, {len(prepared.manifest.shards):,} shards")
    _say(console, as_flags(compared))


def _whole(source: str) -> str:
    """A folder's whole path, so that it is found again from elsewhere; a name on the hub as it is."""
    from ..storage.files import exists, whole_path

    path = whole_path(source)
    return source if ":" in source and not exists(path) else str(path)


@contextmanager
def _interruptible(consequence: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        warn(f"Interrupted; {consequence}.")
        raise typer.Exit(EXIT_INTERRUPTED) from None


@contextmanager
def _progress(console: Console, noun: str = "image") -> Iterator[CountCallback]:
    """A bar in a terminal, a line now and then elsewhere; both say how long it will take."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    pace, last, said = _Pace(), 0.0, -1
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(f"{noun}s{{task.description}}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=None)

        def report(done: int, of: int) -> None:
            nonlocal last, said
            told = pace.told(done, of)
            bars.update(bar, completed=done, total=of, description=told)
            due = done == of or time.monotonic() - last >= _LINE_EVERY
            if due and done != said and not console.is_terminal:
                last, said = time.monotonic(), done
                _say(console, f"{done:,} of {of:,} {noun}s{told}")

        yield report


class _Pace:
    """Speed of late; what was there when the command began is not counted as its work."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)

    def told(self, done: int, of: int) -> str:
        self._recent.append((time.monotonic(), done))
        (since, before), (now, _) = self._recent[0], self._recent[-1]
        if done == before or now == since:
            return ""
        rate = (done - before) / (now - since)
        return f", {rate:.3g}/s, {timedelta(seconds=round((of - done) / rate))} left"


def _show(console: Console, folder: Path, manifest: Manifest) -> None:
    from ..datasets.raw import kind_of
    from .console import make_table

    plan = manifest.plan
    classes = f"{len(plan.class_names):,} classes" if plan.class_names else "no classes"
    _say(console, f"{folder}: {plan.kind} of {manifest.count:,} {plan.noun}s of {plan.resolution} px, {classes}")
    if plan.cut:
        _say(console, f"of each clip {plan.cut.words}, from the {plan.cut.part} of its video")
    if plan.autoencoder:
        maker = plan.autoencoder
        by = f"{maker.name} (sha256 {maker.sha256[:12]}), {maker.statistics}, scale {maker.scale:g}"
        _say(console, f"{plan.noun} and mirror image, by {by}")
    for found in manifest.reconstruction:
        psnr = "every byte the same" if found.psnr is None else f"PSNR {found.psnr:.2f} dB"
        _say(console, f"decoded: rFID {found.rfid:.4g} ({found.features}), {psnr}, of {found.images:,} held-out images")
    size, shards = sum(shard.bytes for shard in manifest.shards), len(manifest.shards)
    left_out = f"{len(manifest.skipped):,} {kind_of(plan.cut).noun}s left out, as they can't be read"
    _say(console, f"{size:,} bytes in {shards:,} shards, {_bytes_per_image(manifest):,} per {plan.noun}")
    _say(console, f"sha256 {manifest.sha256[:12]}; {left_out}")
    for one in manifest.skipped[:_NAMED]:
        _say(console, f"  {one.file!r}")
    table = make_table("channel", "mean", "std")
    for channel, (mean, std) in enumerate(zip(manifest.mean, manifest.std, strict=True)):
        table.add_row(str(channel), f"{mean:.4f}", f"{std:.4f}")
    console.print(table)


def _bytes_per_image(manifest: Manifest) -> int:
    return round(sum(shard.bytes for shard in manifest.shards) / manifest.count)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
