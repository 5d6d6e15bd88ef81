"""`ditbench status`: the queue's word and the records' on every run of a plan."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .app import COMPARE, app, show
from .options import AsJson, as_flags
from .output import warn


@app.command(
    gives="ditbench.cli.answers.runs:Statuses", rich_help_panel=COMPARE, epilog="Example: ditbench status runs/digits"
)
def status(
    runs: Annotated[Path, typer.Argument(help="A track's folder of runs, or the folder of all.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show every run with its state in Slurm's queue, where it was submitted, and by its record.

    No record: none yet, or, if no queue has the run either, waiting; `ditbench run` takes it up.
    """
    from ..executors.slurm_queue import standings

    rows = [{**asdict(standing), "reason": as_flags(standing.reason)} for standing in standings(runs, warn)]
    show(rows, as_json, "track", "run", "task", "queue", "record", "reason")
