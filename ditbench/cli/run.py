"""`ditbench run`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..builtins import REFERENCE_ARCHITECTURES
from .app import EXIT_FAILED, EXIT_INTERRUPTED, app
from .options import installed_architectures, installed_tracks, parse_seeds, parse_shares


@app.command(epilog="Example: ditbench run --plugins dit,mine:nano+depth=6 --budget smoke")
def run(
    plugins: Annotated[
        str,
        typer.Option(
            help="Architectures: name[:size][+option=value], separated by commas.",
            autocompletion=installed_architectures,
        ),
    ] = ",".join(REFERENCE_ARCHITECTURES),
    track: Annotated[
        str,
        typer.Option(help="Track, or a track's file; see `ditbench list tracks`.", autocompletion=installed_tracks),
    ] = "digits",
    budget: Annotated[
        str | None,
        typer.Option(help="2000-steps, 50k-images, 90s, 2gpu-hours, 1e17-flops, or the track's name of one."),
    ] = None,
    ruleset: Annotated[
        str, typer.Option(help="matched: the track's recipe for all; native: each paper's own. Ranked apart.")
    ] = "matched",
    data: Annotated[str, typer.Option(help="Where the track's data is, or another data set: NAME[:PLACE].")] = "",
    reference: Annotated[
        str, typer.Option(help="Real images, or an .npz of their moments, in place of the training images.")
    ] = "",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable images out, and count them.")] = False,
    eval_at: Annotated[str, typer.Option(help="Also measure at these shares of the budget, e.g. 25%,50%.")] = "",
    samples: Annotated[int | None, typer.Option(min=20, help="Images to measure; not the track's: unranked.")] = None,
    features: Annotated[str, typer.Option(help="Extractor of the metrics; not the track's: unranked.")] = "",
    micro_batch: Annotated[
        int | None, typer.Option(min=1, help="Images in one pass, where a batch does not fit the device.")
    ] = None,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Recompute activations: less memory, more time.")
    ] = False,
    seeds: Annotated[str, typer.Option(help="Training seeds, separated by commas.")] = "0",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for runs and leaderboard.")] = Path("runs"),
    keep_samples: Annotated[bool, typer.Option("--keep-samples", help="Write samples.npz (ADM layout).")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Measure the raw weights, too, beside their EMA.")] = False,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds of training between checkpoints.")] = 20.0,
    force: Annotated[bool, typer.Option("--force", help="Start finished and interrupted runs over.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A faulty plugin is an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the table.")] = False,
    executor: Annotated[str, typer.Option(help="process, slurm, ray, or inline for debugging.")] = "process",
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="KEY=VALUE",
            help="For Slurm: partition, time (min), gpus, cpus, memory (GB), ...; for Ray: gpus, cpus, memory (GB), "
            "accelerator, retries. Again for more.",
        ),
    ] = None,
    address: Annotated[str, typer.Option(help="Ray's cluster: HOST:PORT, or auto. Without: one here.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="With Slurm: wait for all runs to end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With Slurm: print the script, submit nothing.")] = False,
    parallel: Annotated[int | None, typer.Option(min=1, help="Runs at a time; here they share the threads.")] = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes that carry out each run, one GPU each.")] = 1,
    shard: Annotated[
        bool, typer.Option("--shard", help="A run's weights and optimiser in shards over its processes (FSDP2).")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    log: Annotated[list[str] | None, typer.Option(help="Tracker: tensorboard or wandb. May be given twice.")] = None,
) -> None:
    """Train, sample, measure and rank architectures on a track.

    Finished runs are skipped and interrupted ones resumed. Exit code 1: some run did not finish.
    """
    from .. import campaign
    from ..executors.listeners import Silent
    from ..executors.slurm import NoRecordsYet
    from ..leaderboard.boards import on_the_boards_of
    from ..records.record import read_runs
    from .console import make_console
    from .display import Lines, Live, print_boards

    console = make_console()
    listener = Silent() if quiet else Live(console) if console.is_terminal else Lines(console)
    try:
        records = campaign.run(
            track,
            plugins.split(","),
            parse_seeds(seeds),
            budget=budget,
            ruleset=ruleset,
            data=data,
            reference=reference,
            skip_bad=skip_bad,
            eval_at=parse_shares(eval_at),
            samples=samples,
            features=features,
            micro_batch=micro_batch,
            checkpointing=checkpointing,
            device=device,
            out=out,
            checkpoint_seconds=checkpoint_every,
            keep_samples=keep_samples,
            raw_weights=raw,
            force=force,
            strict=strict,
            offline=offline,
            executor=executor,
            processes=nproc,
            shard=shard,
            parallel=parallel,
            address=address,
            options=with_ or (),
            wait=wait,
            dry_run=dry_run,
            log=log or (),
            listener=listener,
        )
    except NoRecordsYet as told:
        listener.close()
        typer.echo(str(told))
        raise typer.Exit(EXIT_INTERRUPTED if told.interrupted else 0) from None
    except KeyboardInterrupt:
        listener.close()
        how = "without --force" if force else "again"
        typer.echo(f"Interrupted. The same command {how} resumes where it stopped.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        listener.close()
    if not records:  # torchrun's other processes
        return
    folder = out / records[0].track.name
    print_boards(console, on_the_boards_of(records, read_runs(folder)))
    typer.echo(f"Records, grids and leaderboard.md in {folder}")
    if any(record.status != "finished" for record in records):
        raise typer.Exit(EXIT_FAILED)
