"""The command line: the only package that prints, exits, or imports late. One module for each group of commands."""

# ruff: noqa: I001  (commands stand in --help as they are imported here)
import sys

import typer

from ..errors import DitbenchError
from . import run, plan, status, inspect, new, check, doctor, track, data, evaluate, profile, weights
from . import records, leaderboard
from .app import EXIT_BAD_INPUT, app

__all__ = [
    "app",
    "check",
    "data",
    "doctor",
    "evaluate",
    "inspect",
    "leaderboard",
    "main",
    "new",
    "plan",
    "profile",
    "records",
    "run",
    "status",
    "track",
    "weights",
]


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; a bug keeps its traceback."""
    try:
        app()
    except DitbenchError as error:
        typer.echo(f"ditbench: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
