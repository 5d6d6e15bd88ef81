"""The command line, which alone prints, exits or imports late."""

# ruff: noqa: I001  (commands stand in --help as they are imported here)
import errno
import os
import signal
import sys
from typing import Any, cast

import typer

from ..errors import DitbenchError, one_line
from ..runtime.inheritance import clean, environment
from . import run
from . import plan
from . import scaling
from . import status
from . import runs
from . import inspect
from . import new
from . import check
from . import doctor
from . import track
from . import data
from . import evaluate
from . import bridge
from . import ema
from . import profile
from . import weights
from . import export
from . import records
from . import leaderboard
from . import transfer
from . import portable
from . import reported
from . import commands
from .app import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, app
from .options import as_flags
from .output import begin, own_standard_output, tell_fault, warn
from .signals import as_ctrl_c
from .streams import forgiving, reader_is_gone

__all__ = [
    "app",
    "bridge",
    "check",
    "commands",
    "data",
    "doctor",
    "ema",
    "evaluate",
    "export",
    "inspect",
    "leaderboard",
    "main",
    "new",
    "plan",
    "portable",
    "profile",
    "records",
    "reported",
    "run",
    "runs",
    "scaling",
    "status",
    "track",
    "transfer",
    "weights",
]


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # nobody's bug, whoever writes
_MISUSE = "WrongUse"  # what programs are told then
_WrongUse = cast(type[Exception], typer.BadParameter.__mro__[1])  # of all that the parser refuses


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; a bug keeps its traceback.

    With --json the fault is told on standard output, too.
    """
    begin()
    with own_standard_output(), clean(), forgiving() as faults, as_ctrl_c() as received:
        try:
            code = _code_of_app()
        except Exception as bug:
            tell_fault(type(bug).__name__, EXIT_FAILED, one_line(bug))
            raise
        if received and code == EXIT_INTERRUPTED:
            code = 128 + received[0]
            warn(f"ditbench: ended by {signal.Signals(received[0]).name}.")
        if isinstance(code, int) and code:
            tell_fault("Interrupted" if code >= EXIT_INTERRUPTED else "Failed", code)
        sys.stdout.flush()
        if faults and not reader_is_gone(faults[0]):
            code = code or EXIT_FAILED
            why = faults[0].strerror
            warn(f"ditbench: standard output can't be written ({why}); all else is done.")
    sys.exit(code)


def _code_of_app() -> int | str | None:
    """The exit code of the command that was asked for; what is wrong with the asking is told."""
    width = os.environ.get("TERMINAL_WIDTH")  # which typer takes for a number
    try:
        with environment({"TERMINAL_WIDTH": width if width and width.isdecimal() else None}):
            code: int | str | None = app(standalone_mode=False)
    except DitbenchError as error:
        return _refuse(as_flags(str(error)), type(error).__name__)
    except _WrongUse as error:
        return _tell_use(error)
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        return _refuse(f"{error.filename or 'A file'!r} can't be written: {error.strerror}.", "Unwritable")
    except SystemExit as ended:
        return ended.code
    return code or 0


def _refuse(why: str, kind: str) -> int:
    warn(f"ditbench: {why}")
    tell_fault(kind, EXIT_BAD_INPUT)
    return EXIT_BAD_INPUT


def _tell_use(error: Any) -> int:
    """What the parser says of an argument, in one line; without any argument, the help as it is."""
    told = error.format_message().strip().replace(": Value error, ", ": ", 1)
    if not told or "Usage:" in told:
        error.show()
        tell_fault(_MISUSE, EXIT_BAD_INPUT, "no command is named")
        return EXIT_BAD_INPUT
    command = error.ctx.command_path if error.ctx else "ditbench"
    told = told if told.endswith("?") else f"{told.rstrip('.')}."
    return _refuse(f"{told} See {command} --help.", _MISUSE)
