"""A plugin's code is asked in a process of its own: whatever it patches, sets, prints or breaks stays there.

The process is forked, so that it costs a few milliseconds and sees what we see. It answers with data: plain values and
the records of `components`, in which callables stand by their names. Nothing of the plugin's is imported where the
answer is read.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import pkgutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path, PurePath
from typing import Any, TypeVar

from . import components
from .denoiser_spec import DenoiserSpec
from .errors import BadFile, BadValue, DitbenchError, PluginFault, one_line
from .ladder import Ladder

_Read = TypeVar("_Read")
_FORK = get_context("fork")
SECONDS = 600.0  # in which a network must have been built and looked at
WAIT = 5.0  # seconds after which it is told what is waited for
_hearing: list[Callable[[str], object]] = []  # who is told that
_LOOK = 0.2  # seconds between two looks at whether a process lives
_GRACE = 2.0  # seconds in which a process that was told to end may tidy up
_PLAIN: tuple[Any, ...] = (str, int, float, bytes)
_KINDS = (*vars(components).values(), DenoiserSpec, Ladder)  # an architecture holds these two
_RECORDS = tuple(kind for kind in _KINDS if isinstance(kind, type) and is_dataclass(kind))
_RAISED = {kind.__name__: kind for kind in (PluginFault, BadValue, BadFile, DitbenchError)}  # the first that fits


class Died(PluginFault):
    """The process ended before it had answered."""


class Stalled(PluginFault):
    """The process had not answered in time."""


class Asked:
    """A question to a plugin's code: its process is at work from here on. Several may be, side by side."""

    def __init__(
        self,
        question: Callable[..., Any],
        *about: Any,
        seconds: float | None = None,
        kinds: tuple[type, ...] = (),
        of: str = "",  # whose code is asked, for who waits
    ) -> None:
        self._inbox, outbox = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=_answer, args=(outbox, question, about))
        self._seconds, self._kinds, self._start, self._of = seconds, kinds, time.monotonic(), of
        with warnings.catch_warnings():
            # Python warns of forks beside threads, whose locks nobody would open: this one imports, answers and ends.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        outbox.close()

    def answer(self) -> Any:
        """What it says, waited for; records come anew, and so are checked again.

        A `DitbenchError` is raised here as what it is, any other error as a `PluginFault`; `Died` if there is no
        answer, `Stalled` if there is none in time.
        """
        try:
            while not self._inbox.poll(_LOOK) and self._process.is_alive():  # what it forked may hold the pipe, too
                if self._left() == 0:
                    raise Stalled(f"it did not answer in {self._seconds:g} s")
                self._tell_of_waiting()
            with _within(self._left(), self._kill):
                said = _received(self._inbox)
            self._process.join(_GRACE)
        except BaseException:
            self._process.terminate()
            self._process.join(_GRACE)
            raise
        finally:
            self.end()
        if said is None:
            raise Died(f"{how_it_ended(self._process.exitcode or 0)} before it had answered")
        return _read(said, self._kinds)

    def end(self) -> None:
        """Have its process ended, if it has not, and all that it has started."""
        self._kill()
        self._process.join()
        self._inbox.close()

    def _kill(self) -> None:
        assert self._process.pid  # of group 0, which is ours, all would be killed
        with suppress(ProcessLookupError, PermissionError):  # there is no such group yet, or no more
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def _tell_of_waiting(self) -> None:
        """Once, when it takes long."""
        if self._of and time.monotonic() - self._start > WAIT:
            longest = "" if self._seconds is None else f", for at most {self._seconds:g} s"
            for hear in _hearing:
                hear(f"ditbench: waiting for the code of {self._of}{longest}")
            self._of = ""

    def _left(self) -> float | None:
        return None if self._seconds is None else max(0.0, self._start + self._seconds - time.monotonic())


@contextmanager
def telling(hear: Callable[[str], object]) -> Iterator[None]:
    """Meanwhile `hear` is told, once it takes long, whose code is waited for."""
    _hearing.append(hear)
    try:
        yield
    finally:
        _hearing.remove(hear)


@contextmanager
def _within(seconds: float | None, otherwise: Callable[[], None]) -> Iterator[None]:
    """What is not done in so many seconds ends by `otherwise`."""
    timer = threading.Timer(seconds or 0.0, otherwise)
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def ask(question: Callable[..., Any], *about: Any, seconds: float | None = None, kinds: tuple[type, ...] = ()) -> Any:
    """What ``question(*about)`` answers in a process of its own; see `Asked`.

    It has so many seconds, and may answer with these kinds of records, too, beside those of `components`.
    """
    return Asked(question, *about, seconds=seconds, kinds=kinds).answer()


def ask_of(
    label: str,
    question: Callable[..., Any],
    *about: Any,
    seconds: float | None = SECONDS,
    kinds: tuple[type, ...] = (),
) -> Any:
    """The same about a network; where its plugin's code breaks or ends the process, the `PluginFault` names it."""
    try:
        return Asked(question, *about, seconds=seconds, kinds=kinds, of=label).answer()
    except PluginFault as fault:
        raise PluginFault(f"{label}: {fault}. `ditbench check` looks at it.") from None


@contextmanager
def side_by_side(questions: Iterable[Asked]) -> Iterator[list[Asked]]:
    """All that are asked at once; those whose answers nobody has waited for are ended."""
    asked: list[Asked] = []
    try:
        for question in questions:
            asked.append(question)  # one by one: the next may not start
        yield asked
    finally:
        for question in asked:
            question.end()


def in_turn(starts: Iterable[Callable[[], Asked]], read: Callable[[Asked], _Read]) -> Iterator[_Read]:
    """What is read of each question, of which as many are at work at once as there are cores."""
    coming = iter(starts)
    while several := list(islice(coming, os.cpu_count() or 1)):
        with side_by_side(start() for start in several) as asked:
            yield from map(read, asked)


def end_with_parent() -> None:
    """In a forked process without anything to save: end at once when whoever started it has ended."""

    def wait() -> None:
        parent = parent_process()
        with suppress(OSError, ValueError):  # whoever closed all files is seen by its answer
            if parent is not None:
                parent.join()
                os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def how_it_ended(exitcode: int) -> str:
    """The end of a process that did not answer, in words."""
    if exitcode < 0:
        known = [number.name for number in signal.Signals if number == -exitcode]
        return f"killed by {known[0] if known else f'signal {-exitcode}'}"
    return f"its process ended with exit code {exitcode}"


def _received(inbox: Connection) -> bytes | None:
    try:
        return inbox.recv_bytes() if inbox.poll() else None
    except (EOFError, OSError):  # OSError: it was killed in the middle of a word
        return None


def _answer(outbox: Connection, question: Callable[..., Any], about: tuple[Any, ...]) -> None:
    """In the forked process: answer, and end at once, whatever the plugin has left to happen at the end."""
    os.setsid()  # whatever it starts belongs to it
    end_with_parent()
    gc.freeze()  # looking through what was there before would copy it
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        said = pickle.dumps(("", as_data(question(*about))))
    except BaseException as error:  # `sys.exit`, too, and all that calls itself an error
        raised = next((name for name, kind in _RAISED.items() if isinstance(error, kind)), PluginFault.__name__)
        said = pickle.dumps((raised, described(error) + _place_of(error)))
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    with suppress(OSError):  # whoever asked is gone
        outbox.send_bytes(said)
    os._exit(0)


def _place_of(error: BaseException) -> str:
    """The last line of code that it came through, libraries aside, as its traceback is nowhere; of ours, nothing."""
    if isinstance(error, DitbenchError):
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    return f" (in {Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name})" if frames else ""


def described(error: BaseException) -> str:
    """An error in one line, with its kind unless it is one of ours."""
    text = one_line(error) or "no message"
    return text if isinstance(error, DitbenchError) else f"{type(error).__name__}: {text}"


def as_data(value: Any) -> Any:
    """The same without code: of values that have kinds of their own the plain ones, of callables the names."""
    for plain in _PLAIN:
        if isinstance(value, plain) and not isinstance(value, bool):
            return plain.__getnewargs__(value)[0]  # of an enum's member, say, the value itself
    if isinstance(value, PurePath):
        return Path(value)
    if isinstance(value, Mapping):
        return {as_data(key): as_data(item) for key, item in value.items()}
    for many in (list, tuple, set, frozenset):
        if isinstance(value, many):
            return many(map(as_data, value))
    if type(value) in _RECORDS:
        return type(value)(**{field.name: as_data(getattr(value, field.name)) for field in fields(value)})
    return name_of(value) if callable(value) else value


def name_of(reference: Callable[..., Any]) -> str:
    """``"package.module:name"`` of a callable; `PluginFault` if that finds another, or nothing."""
    name = str(getattr(reference, "__qualname__", type(reference).__qualname__))
    spelled = f"{getattr(reference, '__module__', '')}:{name}"
    try:
        found = pkgutil.resolve_name(spelled)
    except (ValueError, ImportError, AttributeError):
        found = None
    if found != reference:  # a class method is made anew each time, and equal
        raise PluginFault(
            f"{spelled!r} does not lead to what the record holds, so that no other process finds it: name a function "
            "or class at the top of a module, as 'package.module:name'"
        )
    return spelled


class _Answers(pickle.Unpickler):
    """Makes plain values and records of known kinds, and nothing else."""

    def __init__(self, said: bytes, kinds: tuple[type, ...]) -> None:
        super().__init__(io.BytesIO(said))
        known = (*_RECORDS, *kinds, type(Path()))
        self._known = {(kind.__module__, kind.__qualname__): kind for kind in known}

    def find_class(self, module: str, name: str) -> type:
        """A kind by its name; any other would be imported."""
        if (module, name) not in self._known:
            raise PluginFault(f"it answers with a {module}.{name}, and may with plain values and ditbench's records")
        return self._known[module, name]


def _read(said: bytes, kinds: tuple[type, ...]) -> Any:
    try:
        raised, value = _Answers(said, kinds).load()
    except DitbenchError:
        raise
    except Exception as error:  # other code of the plugin's may have written to the pipe
        raise PluginFault(f"its answer can't be read ({described(error)})") from None
    if raised:
        raise _RAISED[raised](value)
    return as_data(value)
