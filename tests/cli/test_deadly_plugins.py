"""A plugin whose network ends the process that builds it is a line or a row of every command, and never silence."""

import json

import pytest
import torch
from deadly import DEADLY
from safetensors.torch import save_file

GONE = "its process ended with exit code 0 before it had answered. `ditbench check` looks at it."


@pytest.fixture(autouse=True)
def deadly(install):
    install("ditbench-deadly", "deadly_plugin", DEADLY)


def test_sizes_has_a_row_for_it_or_a_line_if_it_was_named(ditbench):
    rows = json.loads(ditbench("sizes", "dies,exits,crashes,raises,dit:nano", "--json"))
    assert [row["size"] for row in rows] == ["dies", "exits", "crashes", "raises", "dit:nano"]
    told = ["its process ended with exit code 0", "SystemExit: 0 (in deadly_plugin.py:6 exits)", "killed by SIGSEGV"]
    for row, why in zip(rows, [*told, "RuntimeError: no such layer (in deadly_plugin.py:16 raises)"], strict=False):
        assert row["reason"].startswith(f"{row['size']}: {why}")
    assert rows[-1]["macs_per_image"] > 0
    assert ditbench("sizes", "dies:nano", code=2) == f"ditbench: dies:nano: {GONE}\n"
    assert json.loads(ditbench("sizes", "refuses", "--json"))[0]["reason"] == "a width of 16 does not do."


def test_plan_and_import_say_so_in_a_line(ditbench, tmp_path):
    told = ditbench("plan", "--track", "digits", "--plugins", "dies", "--device", "NVIDIA H200", code=2)
    assert told.endswith(f"ditbench: dies:nano: {GONE}\n") and "Traceback" not in told
    save_file({"weight": torch.zeros(1)}, tmp_path / "published.safetensors")
    files = (str(tmp_path / "published.safetensors"), "--out", str(tmp_path / "out.safetensors"))
    assert ditbench("import", "dies:nano", *files, code=2) == f"ditbench: dies:nano: {GONE}\n"


def test_evaluate_says_so_in_a_line(ditbench, tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    of = (str(tmp_path / "weights.safetensors"), "--track", "digits", "--features", "digits-cnn", "--device", "cpu")
    told = ditbench("evaluate", *of, "--architecture", "dies", "--out", str(tmp_path / "out"), code=2)
    assert told == f"ditbench: dies: {GONE}\n"


def test_check_fails_for_it(ditbench):
    found = json.loads(ditbench("check", "dies", "--json", code=1))
    (finding,) = found["findings"]
    assert (finding["check"], finding["status"]) == ("survives", "failed")
    assert finding["seen"] == "its process ended with exit code 0 before all checks were made."


def test_profile_has_a_row_for_it(ditbench, tmp_path):
    command = ("profile", "dies:nano", "--steps", "4", "--warmup", "0", "--device", "cpu", "--out", str(tmp_path))
    told = ditbench(*command, code=1)
    assert "dies:nano: its process ended with exit code 0" in told and "Traceback" not in told


def test_a_run_that_is_planned_by_one_is_told_before_it_starts(ditbench, tmp_path):
    command = ("run", "--track", "digits", "--ruleset", "native", "--out", str(tmp_path), "--plugins")
    told = ditbench(*command, "dies", code=2)
    assert "The native recipe of 'dies' (plugin 'deadly_plugin' of ditbench-deadly 0.1) is wrong: its process" in told
    assert "is {'learning_rate': 1.0}, no Native." in ditbench(*command, "exits", code=2)
