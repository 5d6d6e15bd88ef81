"""`ditbench check`: a clean process, a table, JSON, a report, and exit codes."""

import json
from types import SimpleNamespace

import pytest

from ditbench.cli.last_check import told
from ditbench.cli.run import _what_next
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


@pytest.mark.timeout(120)
def test_a_process_that_dies_is_a_finding(install, ditbench):
    install("ditbench-mine", "mine_plugin", ARCHITECTURE.format(build="Crash"))
    install("ditbench-none", "toy_crash", CRASHING)
    out = ditbench("check", "mine", code=1)
    assert "survives" in out and "it ended with code -6" in out
    assert "builds-on-meta" in out  # what was found before stays


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
