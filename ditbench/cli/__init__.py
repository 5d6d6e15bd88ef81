"""The command line, which alone prints, exits or imports late."""

# ruff: noqa: I001  (commands stand in --help as they are imported here)
import sys

import typer

from ..errors import DitbenchError, for_a_line
from . import run
from . import plan
from . import status
from . import inspect
from . import new
from . import check
from . import doctor
from . import track
from . import data
from . import evaluate
from . import profile
from . import weights
from . import records
from . import leaderboard
from .app import EXIT_BAD_INPUT, app
from .options import as_flags
from .output import own_standard_output

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
    with own_standard_output():
        try:
            app()
        except DitbenchError as error:
            typer.echo(f"ditbench: {for_a_line(as_flags(str(error)))}", err=True)
            sys.exit(EXIT_BAD_INPUT)
