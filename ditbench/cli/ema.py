"""`ditbench ema`: other lengths of EMA for a run that has finished."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from ..tracks.options import PlaceOptions
from .app import SCORE, app, fetch_weights, installed
from .options import AsJson, offers, parse_numbers
from .output import tell, tell_json

if TYPE_CHECKING:
    from ..records.facts import Measurement
    from ..records.lengths import EmaLengths
    from ..records.record import Record


@app.command(
    needs_torch=True,
    gives="ditbench.records.lengths:EmaLengths",
    rich_help_panel=SCORE,
    epilog="Example: ditbench ema runs/digits/RUN-ID --lengths 0.02,0.05,0.1,0.15",
)
@offers(PlaceOptions)
def ema(
    run: Annotated[Path, typer.Argument(help="Directory of a run that was made with --ema-snapshots.")],
    lengths: Annotated[
        str, typer.Option(metavar="L,L", help="Relative lengths, as shares of training, ascending, up to 0.25.")
    ],
    samples: Annotated[
        bool, typer.Option("--samples", help="Also draw samples, and measure all of the track's metrics.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="The safetensors file to write the average to, of one length.")] = (
        None
    ),
    as_json: AsJson = False,
    **options: Unpack[PlaceOptions],
) -> None:
    """Average a finished run's weights over other lengths, measure each, and write what was found beside the record.

    Boards know the track's own EMA alone: the best of several lengths is no result of a run.
    """
    from ..records.lengths import check_lengths, write_lengths
    from ..runtime.devices import refuse_absent
    from ..storage.files import check_target
    from ..tracks.plan import check_device

    asked = check_lengths(parse_numbers("--lengths", lengths, "numbers such as 0.05,0.1"))
    check_device(options["device"])
    refuse_absent(options["device"])
    if save is not None:
        check_target(save)
    record, found = _measured(run, asked, samples, save, **options)
    if as_json:
        tell_json(found.model_dump(mode="json"))
    else:
        _show(record, found)
    path = write_lengths(found, run)
    if not as_json:
        tell(f"Written to {path}" + (f", weights to {save}" if save else ""))


def _measured(
    run: Path, lengths: tuple[float, ...], samples: bool, save: Path | None, **options: Unpack[PlaceOptions]
) -> tuple[Record, EmaLengths]:
    from ..records.lengths import check_run
    from ..registry import pick
    from ..tracks.lookup import extractors_of
    from .console import make_console

    record, console, registry = check_run(run), make_console(), installed()
    for name in extractors_of(record.track, registry) if samples else ():
        fetch_weights(console, pick("extractor", name, registry.extractors), options["offline"])

    from ..executors.verifying import measure_lengths

    with console.status("averaging and measuring"):
        place = None if save is None else save.absolute()  # a plugin may change the working directory
        return record, measure_lengths(run.absolute(), lengths, samples, place, **options)


def _show(record: Record, found: EmaLengths) -> None:
    """A row for each length; first what the record has of the track's own EMA."""
    from .console import make_console, make_table, plain

    protocols = [one.protocol for one in found.lengths[0].metrics]
    arrows = ["↑" if one.higher_is_better else "↓" for one in found.lengths[0].metrics]
    table = make_table("length", "its error", *(plain(f"{a} {b}") for a, b in zip(protocols, arrows, strict=True)))
    table.add_row("the track's EMA", "", *_cells(record.metrics, protocols))
    for one in found.lengths:
        table.add_row(f"{one.length:g}", f"{one.profile_error:.4f}", *_cells(one.metrics, protocols))
    make_console().print(table)
    tell("its error: how far the average that is made of the snapshots is from one of this length, as a share of it.")


def _cells(metrics: list[Measurement], protocols: list[str]) -> list[str]:
    values = {one.protocol: one.value for one in metrics}
    return [f"{values[protocol]:.6g}" if protocol in values else "" for protocol in protocols]
