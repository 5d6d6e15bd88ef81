"""Whole commands, each with a server of its own that imports torch: half a minute. What they add to faster tests.

test_app's Ctrl-C is the one whole command of the quick tests.
"""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ditbench import campaign
from ditbench.records.profile import read_profile
from ditbench.records.record import read_record
from ditbench.storage.claims import sole_writer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("toy"), pytest.mark.timeout(240)]
DITBENCH = [sys.executable, "-m", "ditbench"]


# faster: test_campaign's test_the_run_stops_when_nobody_hears_it_any_more
def test_the_run_stops_when_whoever_started_it_is_gone(tmp_path):
    """kill -9 of the command itself: its run saves and ends, and so does the server."""
    context = multiprocessing.get_context("spawn")
    command = context.Process(target=_command, args=(tmp_path,))
    command.start()
    deadline = time.monotonic() + 120
    while not list((tmp_path / "tiny").glob("*/curve.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    (curve,) = (tmp_path / "tiny").glob("*/curve.jsonl")
    workers = psutil.Process(command.pid).children(recursive=True)
    time.sleep(1)
    command.kill()
    command.join()
    deadline = time.monotonic() + 30
    while any(alive(process) for process in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(process) for process in workers)
    assert read_record(curve.parent / "record.json").status == "interrupted"
    with sole_writer(curve.parent):
        shutil.rmtree(tmp_path / "tiny")


def alive(process):
    """Not a dead one either, that its new parent has not looked at."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(out):
    campaign.run("tiny", ["toy+fault=slow"], out=out, device="cpu", budget="4000-steps")


# faster: test_profiler's test_ctrl_c_keeps_what_is_timed
def test_ctrl_c_at_a_terminal_keeps_what_is_timed(tmp_path):
    arguments = ["toy", "toy+fault=slow", "--track", "tiny", "--steps", "2000", "--seed", "0", "--out", str(tmp_path)]
    command = subprocess.Popen(
        [*DITBENCH, "profile", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("*.profile.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(command.pid, signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130 and errors == "Interrupted. What was timed before is kept.\n"
    (kept,) = map(read_profile, tmp_path.glob("*.profile.json"))
    assert kept.label == "toy:nano"


# faster: test_trackers' test_a_person_is_told_in_one_line_and_no_run_is_lost
def test_a_tracker_says_nothing_not_even_at_exit(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    arguments = ["run", "--plugins", "toy", "--track", "tiny", "--device", "cpu", "--out", str(tmp_path), "--quiet"]
    done = subprocess.run([*DITBENCH, *arguments, "--log", "wandb"], capture_output=True, text=True, check=True)
    assert done.stderr == "" and "toy:nano" in done.stdout and "wandb" not in done.stdout
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
