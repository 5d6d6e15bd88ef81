"""SIGTERM, SIGHUP and SIGQUIT end a command as Ctrl-C does."""

import os
import signal
import time

import pytest

from ditbench.cli import signals
from ditbench.runtime.processes import ENDINGS, ignoring_ctrl_c, on_ctrl_c


@pytest.mark.parametrize("wish", ENDINGS)
def test_they_raise_as_ctrl_c_does(wish):
    with pytest.raises(KeyboardInterrupt), signals.as_ctrl_c() as received:
        os.kill(os.getpid(), wish)
    assert received == [wish] and signal.getsignal(wish) == signal.SIG_DFL


def test_one_that_is_sent_twice_at_once_counts_once_for_the_second_kills(monkeypatch):
    with signals.as_ctrl_c() as received, on_ctrl_c(lambda presses: None) as presses:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (presses, received) == ([signal.SIGINT], [signal.SIGTERM])
        monkeypatch.setattr(signals, "_AT_ONCE", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(presses) == 2


def test_what_is_ignored_stays_ignored_as_nohup_means():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.as_ctrl_c() as received:
            os.kill(os.getpid(), signal.SIGHUP)
        assert received == [] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_one_that_comes_while_the_server_starts_is_heard_afterwards():
    with pytest.raises(KeyboardInterrupt), signals.as_ctrl_c() as received:
        with ignoring_ctrl_c():
            os.kill(os.getpid(), signal.SIGTERM)
            assert received == []
        time.sleep(10)
    assert received == [signal.SIGTERM]


def test_in_the_background_of_a_script_where_ctrl_c_is_ignored_they_are_heard():
    with pytest.raises(KeyboardInterrupt), ignoring_ctrl_c(), signals.as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
