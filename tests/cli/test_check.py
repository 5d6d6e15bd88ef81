"""`ditbench check`: a clean process, a table, JSON, a report, and exit codes."""

import json
import signal
from functools import partial
from types import SimpleNamespace

import pytest

from ditbench.cli import check as check_command
from ditbench.cli.last_check import told
from ditbench.cli.run import _what_next
from ditbench.denoiser.conformance.findings import at_work
from ditbench.registry import Registry

ARCHITECTURE = """
import ditbench
@ditbench.hookimpl
def ditbench_architectures():
    return [ditbench.Architecture(name="mine", build="toy_crash:{build}", sizes={{"nano": {{"width": 16}}}})]
"""
CRASHING = (
    "import os\nfrom toy_net import Toy\nclass Crash(Toy):\n    def forward(self, x, t, y):\n        os.abort()\n"
)
DEAF = """
import threading, time
from toy_net import Toy
threading.Thread(target=time.sleep, args=(600,)).start()  # which nobody waits for
class Deaf(Toy):
    def forward(self, x, t, y):
        print("chatter")
        return super().forward(x, 0 * t, y)
"""


@pytest.mark.timeout(120)
def test_a_broken_architecture_is_told_in_words_json_and_markdown(install, ditbench, tmp_path):
    install("ditbench-mine", "mine_plugin", ARCHITECTURE.format(build="Deaf"))
    install("ditbench-none", "toy_crash", DEAF)
    page = tmp_path / "check.md"
    found = json.loads(ditbench("check", "mine", "--json", "--report", str(page), code=1))
    failed = {finding["check"] for finding in found["findings"] if finding["status"] == "failed"}
    assert "depends-on-t" in failed and "depends-on-x" not in failed
    light = next(finding for finding in found["findings"] if finding["check"] == "registers-lightly")
    assert light["status"] == "passed" and light["seen"].endswith("ms")
    assert "| `depends-on-t` | failed |" in page.read_text()
    source = Registry.installed().source_sha256("mine")
    assert told("mine:nano", source).startswith(f"mine:nano failed {len(failed)} of ")
    mine = SimpleNamespace(label="mine:nano", source_sha256=source)
    assert next(_what_next([SimpleNamespace(architecture=mine, status="finished", seed=0)], tmp_path)).endswith(
        "): see ditbench check mine:nano"
    )
    assert not told("mine:nano", "0" * 64)  # another state of the plugin, which nobody has checked


@pytest.mark.parametrize(
    ("status", "reason", "next_step"),
    [
        ("failed", "RuntimeError: the toy broke", "ditbench check toy:nano"),
        ("failed", "killed by SIGSEGV", "ditbench check toy:nano"),
        ("diverged", "loss is nan at step 3", "ditbench check toy:nano"),
        ("failed", "'r/checkpoints/000004' can't be written: No space left on device.", "mend what the reason names."),
        ("failed", "OutOfMemoryError: CUDA out of memory.", "mend what the reason names."),
        ("interrupted", "killed by SIGKILL", "the same command again skips what is finished"),
    ],
)
def test_a_check_is_advised_where_it_may_help(tmp_path, status, reason, next_step):
    network = SimpleNamespace(label="toy:nano", source_sha256="0" * 64)
    record = SimpleNamespace(architecture=network, status=status, reason=reason, seed=0, run_id="toy-nano-seed0")
    told = list(_what_next([record], tmp_path))
    assert told[-1].startswith(f"Next: {next_step}") and any("memory runs out" in line for line in told) == (
        "SIGKILL" in reason
    )


@pytest.mark.timeout(120)
def test_a_process_that_dies_is_a_finding(install, ditbench):
    install("ditbench-mine", "mine_plugin", ARCHITECTURE.format(build="Crash"))
    install("ditbench-none", "toy_crash", CRASHING)
    out = ditbench("check", "mine", code=1)
    assert "survives" in out and "killed by SIGABRT" in out
    assert "builds-on-meta" in out  # what was found before stays


def test_a_check_that_does_not_end_is_named_while_it_is_waited_for_and_at_the_end(tmp_path, monkeypatch):
    told = []
    for name, value in {"_IMPORT": 0.1, "SECONDS": 0.5, "_LOOK": 0.05, "warn": told.append}.items():
        monkeypatch.setattr(check_command, name, value)
    code, _, stuck = check_command._ended(
        ["sleep", "60"], tmp_path / "log", partial(check_command._now, "mine", tmp_path / "report.json")
    )
    assert told == ["ditbench: still at importing and building mine, for at most 0.5 s"]
    assert stuck == "it was at importing and building mine for 0.5 s and did not end" and code == -signal.SIGKILL
    at_work(tmp_path / "report.json").write_text("deterministic")
    assert check_command._now("mine", tmp_path / "report.json") == ("the check 'deterministic' of mine", 5.0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dti", "Did you mean 'mdt' or 'dit'"),
        ("dit:nan", "Did you mean 'nano'"),
        ("dit+skip=on", "No option of dit named 'skip'"),
    ],
)
def test_a_wrong_name_is_one_line(ditbench, name, words):
    errors = ditbench("check", name, code=2)
    assert words in errors and errors.count("\n") == 1
