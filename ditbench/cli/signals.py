"""The signals that ask a command to end, which then ends as it does by Ctrl-C: what is at work saves, tables are
written.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..runtime.processes import ENDINGS

_AT_ONCE = 1.0  # seconds in which two signals are one: `timeout` sends its own to the command, and to its group
_LATER = 0.1  # seconds until one is tried again that came when Ctrl-C is ignored


@contextmanager
def as_ctrl_c() -> Iterator[list[int]]:
    """Meanwhile SIGTERM, SIGHUP and SIGQUIT do what Ctrl-C does; yields those that came.

    What is ignored already stays so: ``nohup`` and ``trap`` mean that.
    """
    received: list[int] = []
    last = [-_AT_ONCE]
    background = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as of a shell script's ``&``

    def react(number: int, frame: FrameType | None) -> None:
        ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(ctrl_c) and not background:
            threading.Timer(_LATER, os.kill, (os.getpid(), number)).start()
        elif time.monotonic() - last[0] >= _AT_ONCE:
            last[0] = time.monotonic()
            received.append(number)
            (ctrl_c if callable(ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)

    ours = [number for number in ENDINGS if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, react)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
