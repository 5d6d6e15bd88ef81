"""What is asked in a process of its own is answered with data, and each way of not answering is told."""

import enum
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath

import psutil
import pytest

import ditbench
from ditbench import asking
from ditbench.asking import Asked, Died, Stalled, as_data, ask, side_by_side
from ditbench.errors import BadValue, DitbenchError, PluginFault


class Odd(BaseException):
    """No error by its class."""


class Colour(str, enum.Enum):  # noqa: UP042  (as many plugins still have it; it spells itself Colour.RED)
    RED = "red"


class Own(ditbench.Option):
    """A record of a plugin's own kind."""


class Net:
    @classmethod
    def make(cls):
        """A class method, which is made anew at each access."""


def raises(error):
    raise error


def leave_a_child():
    if os.fork():
        os._exit(3)
    time.sleep(60)


def architecture(**changes):
    return ditbench.Architecture(**{"name": "mine", "build": "a:b", "sizes": {"nano": {}}, **changes})


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (partial(os._exit, 0), "its process ended with exit code 0 before it had answered"),
        (partial(os._exit, 3), "its process ended with exit code 3 before it had answered"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL before it had answered"),
        (lambda: os.closerange(3, 100), "its process ended with exit code [01] before it had answered"),
        (leave_a_child, "its process ended with exit code 3 before it had answered"),
        (lambda: os.kill(os.getpid(), signal.SIGRTMIN + 6), r"killed by signal \d+ before it had answered"),
    ],
)
def test_a_process_that_dies_is_told(end, told):
    with pytest.raises(Died, match=f"^{told}$"):
        ask(end)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (SystemExit(0), PluginFault, "SystemExit: 0 (in test_asking.py:"),
        (KeyboardInterrupt(), PluginFault, "KeyboardInterrupt: no message"),
        (Odd("x"), PluginFault, "Odd: x"),
        (RuntimeError("no\nlayer"), PluginFault, "RuntimeError: no layer (in test_asking.py:"),
        (BadValue("a `width` of 3."), BadValue, "a"),
        (DitbenchError("no GPU"), DitbenchError, "no GPU"),
    ],
)
def test_an_error_is_raised_where_it_was_asked(error, kind, told):
    with pytest.raises(kind) as caught:
        ask(raises, error)
    assert type(caught.value) is kind and str(caught.value).startswith(told)


def test_who_does_not_answer_in_time_is_told_and_ended(monkeypatch):
    monkeypatch.setattr(asking, "WAIT", 0.1)
    asked, told = Asked(time.sleep, 60, seconds=0.5, of="plugin 'slow'"), []
    with asking.telling(told.append), pytest.raises(Stalled, match=r"^it did not answer in 0.5 s$"):
        asked.answer()
    assert told == ["ditbench: waiting for the code of plugin 'slow', for at most 0.5 s"]
    assert asked._process.exitcode == -signal.SIGTERM


def tear():
    """Say the length of an answer, and no more."""
    os.write(sys._getframe(1).f_locals["outbox"].fileno(), (1_000).to_bytes(4))
    time.sleep(60)


def test_half_an_answer_is_waited_for_as_long_as_a_whole_one():
    with pytest.raises(Died, match=r"^killed by SIGKILL before it had answered$"):
        ask(tear, seconds=0.2)


def test_what_it_has_started_ends_with_it():
    started = ask(lambda: subprocess.Popen(["sleep", "60"]).pid)
    with pytest.raises(psutil.NoSuchProcess):
        while psutil.Process(started).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        raise psutil.NoSuchProcess(started)


def test_nobody_is_left_behind():
    with pytest.raises(ZeroDivisionError), side_by_side(Asked(time.sleep, 60) for _ in range(2)) as asked:
        raise ZeroDivisionError
    assert [one._process.exitcode for one in asked] == [-signal.SIGKILL] * 2


def changed():
    sys.path.clear()
    os.environ["DITBENCH_PLUGINS"] = "none"
    return sys.stdin.read(), os.read(0, 1)


def test_what_is_changed_there_stays_there():
    assert ask(changed) == ("", b"")  # nobody can be asked for anything
    assert sys.path and "DITBENCH_PLUGINS" not in os.environ


def test_values_become_plain_and_callables_names():
    value = {Colour.RED: [True, 1, 0.5, None, b"x", PurePosixPath("a"), {1}, (Net, Net.make, raises)]}
    found = as_data(value)
    assert found == {"red": [True, 1, 0.5, None, b"x", Path("a"), {1}, tuple(f"{__name__}:{of}" for of in NAMES)]}
    assert type(next(iter(found))) is str and ask(lambda: value) == found


NAMES = ("Net", "Net.make", "raises")


@pytest.mark.parametrize("build", [lambda spec: None, partial(raises, 1), Net().make.__call__])
def test_a_callable_that_has_no_name_of_its_own_is_a_fault(build):
    with pytest.raises(PluginFault, match="name a function or class at the top of a module"):
        ask(lambda: architecture(build=build))


def test_records_come_anew_and_are_checked_again():
    made = architecture(build=Net.make, options={"depth": ditbench.Option(default=1)})
    found = ask(lambda: made)
    assert found == architecture(build=f"{__name__}:Net.make", options=made.options) and found is not made
    object.__setattr__(made, "name", "../up")
    with pytest.raises(BadValue, match="can't be the name of this architecture"):
        ask(lambda: made)


@pytest.mark.parametrize("answer", [Own(default=1), object(), Fraction(1, 2)])
def test_other_kinds_are_refused_unless_they_are_asked_for(answer):
    with pytest.raises(PluginFault, match=r"^it answers with a \w+\.\w+, and may with"):
        ask(lambda: answer)
    assert type(ask(lambda: answer, kinds=(type(answer),))) is type(answer)
