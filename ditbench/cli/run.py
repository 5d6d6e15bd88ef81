"""`ditbench run`: the main job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from ..builtins import REFERENCE_ARCHITECTURES
from ..errors import NoRecordsYet, NoTables
from ..tracks.options import CampaignOptions
from .app import COMPARE, EXIT_FAILED, EXIT_INTERRUPTED, app
from .options import (
    FILES,
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
from .output import tell, tell_json, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from ..executors.listeners import Silent
    from ..records.record import Record


@app.command(
    needs_torch=True,
    gives="ditbench.cli.answers.runs:RunAnswer",
    rich_help_panel=COMPARE,
    epilog="Example: ditbench run dit uvit:nano+skip=add --budget smoke",
)
@offers(CampaignOptions)
def run(
    architectures: SomeArchitectures = None,
    plugins: Plugins = None,
    track: TrackName = "digits",
    seeds: Seeds = "0",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the table.", rich_help_panel=FILES)] = False,
    as_json: AsJson = False,
    **options: Unpack[CampaignOptions],
) -> None:
    """Train, sample, measure and rank architectures on a track; without names: dit, uvit, mdt and diffit.

    Finished runs are skipped and interrupted ones resumed. Exit code 1: some run did not finish.
    """
    from .. import campaign
    from ..executors.listeners import Together
    from .console import make_console
    from .heard import Heard

    console, place = make_console(), Path(options["out"]).absolute()  # a plugin may change the working directory
    chosen = parse_architectures(architectures, plugins) or REFERENCE_ARCHITECTURES
    asked = (track, chosen, parse_seeds(seeds))
    heard = Heard(options["ruleset"], options["dry_run"])
    submitted = (lambda message: tell_json(heard.answer(message))) if as_json else tell
    try:
        records = attended(
            lambda told: campaign.run(*asked, listener=Together(told, heard) if as_json else told, **options),
            console,
            quiet,
            options["force"],
            submitted,
        )
    except NoTables as fault:
        if as_json:
            tell_json(heard.answer(as_flags(str(fault))))
        else:
            _show(fault.records, place, console)
        raise
    if not records:  # torchrun's other processes have none
        return
    folder = Path(options["out"]) / records[0].track.name
    following = list(_what_next(records, folder, options["force"]))
    if as_json:
        tell_json(heard.answer(next_steps=following))
    else:
        _show(records, place, console)
        tell(f"Records, grids and leaderboard.md in {folder}")
        tell("\n".join(following))
    if any(record.status != "finished" for record in records):
        raise typer.Exit(EXIT_FAILED)


def attended(
    carry_out: Callable[[Silent], list[Record]],
    console: Console,
    quiet: bool,
    forced: bool,
    submitted: Callable[[str], None] = tell,
) -> list[Record]:
    """The records of runs, whose progress is shown; runs that are submitted or interrupted end the command.

    `submitted` tells how runs go on that are not done yet.
    """
    from .display import Lines, Live, Quiet

    listener = Quiet() if quiet else Live(console) if console.is_terminal else Lines(console)
    try:
        return carry_out(listener)
    except NoRecordsYet as told:
        listener.close()
        (tell if told.interrupted else submitted)(as_flags(str(told)))
        raise typer.Exit(EXIT_INTERRUPTED if told.interrupted else 0) from None
    except KeyboardInterrupt:
        listener.close()
        warn(f"Interrupted. {_again(forced)}.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        listener.close()


def _again(forced: bool) -> str:
    """How interrupted runs go on."""
    how = "without --force" if forced else "again"
    return f"The same command {how} skips what is finished and resumes runs that have a checkpoint"


_OF_THE_NETWORK = re.compile(r"(?!\w*Memory)[A-Za-z_][\w.]*: |killed by ")  # how an error's kind or a signal is told


def _may_be_the_networks(record: Record) -> bool:
    """Whether a check of its network may show why a run failed: a full disk, a file or memory it can't."""
    return record.status == "diverged" or _OF_THE_NETWORK.match(record.reason or "") is not None


def _what_next(records: Sequence[Record], folder: Path, forced: bool = False) -> Iterator[str]:
    """Where to look for what went wrong, and what to do next."""
    from ..executors.jobs import LOG_FILE
    from .last_check import told

    networks = dict.fromkeys((record.architecture.label, record.architecture.source_sha256) for record in records)
    yield from filter(None, (told(label, source) for label, source in networks))
    failed = [record for record in records if record.status in ("failed", "diverged")]
    for record in failed:
        log = folder / record.run_id / LOG_FILE
        yield f"What {record.architecture.label} seed {record.seed} printed, and its traceback: {log}"
    if any("SIGKILL" in (record.reason or "") for record in records):
        yield "SIGKILL is what Linux sends where memory runs out: a smaller --micro-batch or --parallel needs less."
    if doubtful := dict.fromkeys(record.architecture.label for record in failed if _may_be_the_networks(record)):
        yield f"Next: ditbench check {' '.join(doubtful)}"
    elif failed:
        yield f"Next: mend what the reason names. {_again(forced)}."
    elif any(record.status == "interrupted" for record in records):
        yield f"Next: {_again(forced).replace('The', 'the', 1)}."
    elif len({record.seed for record in records}) < (track := records[0].track).seeds:
        gives = "intervals" if any(record.deviations for record in records) else "ranks and intervals"
        yield f"Next: the same command with --seeds {track.all_seeds}, which gives {gives}."
    else:
        yield f"Next: ditbench leaderboard serve {folder}"


def _show(records: Sequence[Record], out: Path, console: Console) -> None:
    """The boards that the runs are on."""
    from ..leaderboard.build import on_the_boards_of
    from ..records.record import read_runs
    from .display import print_boards

    print_boards(console, on_the_boards_of(records, read_runs(out / records[0].track.name)))
