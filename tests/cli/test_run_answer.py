"""What `ditbench run --json` tells of its runs: the plan, states, metrics, and the row."""

import json
from pathlib import Path

import pytest

from ditbench.records.record import read_record

pytestmark = pytest.mark.timeout(240)


def test_runs_tell_their_states_their_records_and_their_row(toy, ditbench, tmp_path, capsys):
    asked = ("run", "toy", "toy+depth=2", "--track", "tiny", "--budget", "blink", "--device", "cpu")
    command = (*asked, "--seeds", "0-2", "--executor", "inline", "--out", str(tmp_path), "--json")
    told = json.loads(ditbench(*command))
    plan, runs = told["plan"], told["runs"]
    assert plan["architectures"] == ["toy:nano", "toy:nano+depth=2"] and plan["seeds"] == [0, 1, 2]
    assert (plan["track"], plan["seeds_for_a_rank"], plan["budgets"]) == ("tiny", 3, ["8-steps"])
    assert Path(plan["folder"]) == tmp_path / "tiny"
    assert [(run["label"], run["seed"]) for run in runs] == [(n, s) for n in plan["architectures"] for s in (0, 1, 2)]
    for run in runs:
        record = read_record(Path(run["record"]))
        assert (run["state"], run["reason"], run["run_id"]) == ("done", "", record.run_id)
        assert run["metrics"] == {one.protocol: one.value for one in record.metrics}
    (board,) = told["boards"]
    assert {row["architecture"] for row in board["rows"]} == set(plan["architectures"])
    assert all(row["rank"] and row["seeds"] == [0, 1, 2] for row in board["rows"]) and not board["unranked_because"]
    assert set(board["rows"][0]["quality"][board["ranks_by"]]) == {"mean", "low", "high"}

    again = json.loads(ditbench(*command))
    assert {run["state"] for run in again["runs"]} == {"skipped"} and again["boards"] == told["boards"]
    listed = json.loads(ditbench("runs", "list", "--runs", str(tmp_path), "--json"))
    assert {row["run"] for row in listed} == {run["run_id"] for run in runs}


def test_a_run_that_fails_tells_why_and_where_its_log_is(toy, ditbench, tmp_path):
    command = ("run", "toy+fault=raise", "--track", "tiny", "--out", str(tmp_path), "--device", "cpu", "--json")
    told = json.loads(ditbench(*command, code=1))
    (run,) = told["runs"]
    assert run["state"] == "failed" and "the toy broke, as ordered" in run["reason"] and not run["metrics"]
    assert "the toy broke" in Path(run["log"]).read_text() and "ditbench check" in told["next"][-1]


def test_a_plan_that_can_not_be_is_a_fault(toy, ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "No track named" in ditbench("run", "toy", "--track", "tinny", "--json", code=2)
    assert not (tmp_path / "runs").exists()
