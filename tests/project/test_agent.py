"""An agent's whole way, from a model.py to a ranked row, by the script that examples/ has; and AGENTS.md's facts."""

import json
import os
import subprocess

import answers_table
import pytest
from environments import make_environment
from import_graph import ROOT
from snippets import blocks

from ditbench.cli.app import EXIT_CODES

GUIDE, PAGE = ROOT / "AGENTS.md", answers_table.PAGE
AGENT = ROOT / "examples" / "agent"


@pytest.mark.slow  # faster: test_run_answer, test_answers, test_scaffold
@pytest.mark.timeout(900)
def test_a_model_becomes_a_ranked_row_by_json_alone(tmp_path):
    python = make_environment(tmp_path / "env")
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0: pip reads it as "no"
    track = ("--track", ROOT / "tests" / "tiny.toml", "--budget", "blink", "--seeds", "0-2")
    done = subprocess.run(
        [python, AGENT / "model_to_row.py", AGENT / "model.py", *track],
        cwd=tmp_path, env={**os.environ, **offline}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["row"]["architecture"] == "my_arch:nano" and told["rank"] in (1, 2)
    assert [row["architecture"].partition(":")[0] for row in told["board"]["rows"]].count("dit") == 1
    assert told["planned_runs"] == len(told["records"]) == 6
    assert told["row"]["quality"][told["ranks_by"]]["low"] is not None


def test_the_page_has_every_answer_and_every_exit_code():
    text = PAGE.read_text(encoding="utf-8")
    assert answers_table.with_table(text) == text, "run docs/answers_table.py"
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning}" in text


def test_the_guide_is_short_and_each_of_its_commands_gives_json():
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110
    typed = [line for block in blocks(GUIDE) if block.language == "sh" for _, line in block.commands]
    assert len(typed) > 8 and all(line.endswith(" --json") for line in typed if line.startswith("ditbench"))
