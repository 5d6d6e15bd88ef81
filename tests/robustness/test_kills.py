"""Killed in any phase, by any signal, in any part: the same command goes on, and the result is the same, bit by bit.

The fast test kills a run's process twice, after its training: `tests/test_campaign.py` kills one that
trains. All kills, some twenty minutes::

    uv run pytest -m slow -n 0 tests/robustness/test_kills.py

tells at its end how many hit which phase, by what the runs said that they were doing. ``KILLS=12`` in the environment
is enough for a first look.
"""

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from killer import Command, Tally, chains, differences, nothing_lost, suffer

from ditbench import campaign

HERE = Path(__file__).parent
OPTIONS = ["run", "--plugins=slow", "--track=slow", "--device=cpu", "--seeds=0,1", "--checkpoint-every=0.4"]
IN_A_CHAIN = 12
CHAINS = 10  # more kills than a hundred, since some come too late


@pytest.fixture
def slow(install, tmp_path, monkeypatch):
    """The plugin that takes its time, for this process's children."""
    install("ditbench-slow", "slow_toy", (HERE / "slow_toy.py").read_text())
    shutil.copy(HERE / "slow.toml", tmp_path / "site" / "slow.toml")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    flush = os.fsync
    yield
    os.fsync = flush


def run_process():
    """The process that carries out the run."""
    found = [p for p in psutil.Process().children(recursive=True) if p.status() != "zombie" and not p.children()]
    return max(found, key=lambda p: p.create_time())


class Killer(campaign.Silent):
    """Kills the run's process once, when it says that it is in a phase."""

    def __init__(self, stage, sent):
        self.stage, self.sent = stage, sent

    def progress(self, config, progress):
        if progress.stage == self.stage:
            run_process().send_signal(self.sent)
            self.stage = ""


@pytest.mark.slow  # faster: test_killed_for_good_and_resumed_is_the_same_run_bit_for_bit
@pytest.mark.timeout(240)
def test_a_run_that_is_killed_in_two_phases_is_the_same(slow, tmp_path):
    common = {"device": "cpu", "budget": "20-steps", "checkpoint_seconds": 0.05}
    (whole,) = campaign.run("slow", ["slow"], out=tmp_path / "whole", **common)
    for stage, sent in (("sample", signal.SIGTERM), ("measure", signal.SIGKILL)):
        listener = Killer(stage, sent)
        (dead,) = campaign.run("slow", ["slow"], out=tmp_path / "parts", listener=listener, **common)
        assert (listener.stage, dead.status) == ("", "interrupted"), dead.reason
    (parts,) = campaign.run("slow", ["slow"], out=tmp_path / "parts", **common)
    assert not differences(*(tmp_path / name / "slow" / whole.run_id for name in ("whole", "parts")))
    assert parts.status == "finished"


@pytest.mark.slow  # the test above kills one part of a run in two phases
@pytest.mark.timeout(7200)
def test_a_hundred_kills_leave_the_same_run(slow, tmp_path, tell):
    whole, tally = tmp_path / "whole" / "slow", Tally()
    command = Command([*OPTIONS, "--out", str(whole.parent)], whole)
    assert command.ended(600) and command.process.returncode == 0, "".join(command.said)
    (one,), (other,) = (list(whole.glob(f"slow-*-seed{seed}-*")) for seed in (0, 1))

    def carry_out(number, chain):
        folder = tmp_path / str(number) / "slow"
        shutil.copytree(one, folder / one.name)
        record = folder / one.name / "record.json"
        check = nothing_lost(folder, record, record.read_bytes())
        faults = []

        def again():
            (before,) = folder.glob("slow-*-seed1-*")
            faults.extend(differences(other, before))
            shutil.rmtree(before)

        last = suffer(chain, lambda: Command([*OPTIONS, "--out", str(folder.parent)], folder), check, again, tally)
        assert last.ended(600) and last.process.returncode == 0, "".join(last.said)
        check("the last")
        return faults + differences(other, folder / other.name) + [str(path) for path in folder.rglob(".*.tmp")]

    wanted = int(os.environ.get("KILLS", CHAINS * IN_A_CHAIN))
    try:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(carry_out, range(CHAINS), chains(max(1, wanted // IN_A_CHAIN))))
    finally:
        for line in tally.lines():
            tell(line)
    assert not any(found), found
    assert tally.count >= min(100, wanted * 0.8) and len({kill.phase for kill in tally.hits}) == 4
