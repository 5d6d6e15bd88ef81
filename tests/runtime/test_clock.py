"""The clock that stands still while the process is stopped."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ditbench.runtime.clock import EVERY, Pauses, RunningClock


class Times:
    """A process's three clocks, moved by hand."""

    def __init__(self):
        self.now = self.worked = self.asleep = 0.0

    def clock(self):
        return RunningClock(lambda: self.now, lambda: self.worked, lambda: self.asleep)


@pytest.fixture
def times(monkeypatch):
    monkeypatch.setattr(RunningClock, "_keep_looking", lambda self, over: None)  # the test looks by itself
    return Times()


@pytest.mark.parametrize(
    ("gap", "worked", "asleep", "charged", "pauses"),
    [
        (20.0, 0.1, 0.0, EVERY, Pauses(1, 20.0 - EVERY)),  # stopped
        (4.0, 0.0, 0.0, 4.0, Pauses()),  # too short
        (20.0, 19.0, 0.0, 20.0, Pauses()),  # computed, and let no other thread look
        (0.1, 0.1, 600.0, 0.1, Pauses(1, 600.0)),  # the machine was suspended, and this clock with it
    ],
)
def test_a_pause_is_not_counted_and_told(times, gap, worked, asleep, charged, pauses):
    clock = times.clock()
    with clock.watched():
        before = clock()
        times.now, times.worked, times.asleep = gap, worked, asleep
        assert clock() - before == pytest.approx(charged)
        assert (clock.pauses.count, clock.pauses.seconds) == (pauses.count, pytest.approx(pauses.seconds))
        times.now += 1
        assert clock() - before == pytest.approx(charged + 1)


def test_what_nobody_watched_is_no_pause(times):
    clock = times.clock()
    times.now = 100.0
    assert clock() == 100.0 and clock.pauses == Pauses()
    with clock.watched():
        times.now = 101.0
        assert clock() == 101.0
    times.now = 200.0
    assert clock() == 200.0 and clock.pauses == Pauses()


def test_a_step_that_takes_long_is_no_pause(monkeypatch):
    monkeypatch.setattr("ditbench.runtime.clock.SHORTEST_PAUSE", 0.8)
    clock = RunningClock()
    with clock.watched():
        before, real = clock(), time.perf_counter()
        time.sleep(1.5)
        assert clock() - before == pytest.approx(time.perf_counter() - real, abs=0.05) and clock.pauses == Pauses()


STOPPED = """
import time
from ditbench.runtime import clock
from ditbench.runtime.clock import RUNNING
clock.SHORTEST_PAUSE = 1.0
with RUNNING.watched():
    began, real = RUNNING(), time.perf_counter()
    print("ready", flush=True)
    while time.perf_counter() - real < 3:
        time.sleep(0.01)
    print(RUNNING() - began, RUNNING.pauses.count, RUNNING.pauses.seconds)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="POSIX")
def test_a_process_that_is_really_stopped():
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(process.pid, signal.SIGCONT)
        ran, count, seconds = map(float, process.stdout.readline().split())
    assert count == 1 and 2 < seconds < 3 and seconds + ran == pytest.approx(3, abs=0.5)
