"""What README says of CI and of a plugin's files is so; test_docs.py runs its commands."""

import re
import tomllib
from pathlib import Path

from ditbench.registry import Registry

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def test_the_main_job_and_the_tests_are_one_line_each():
    (run,) = [line for line in LINES if line.endswith("; uv run ditbench run --plugins dit,uvit,mdt,diffit")]
    (test,) = [line for line in LINES if line.endswith("; uv run pytest")]
    assert "pip install -q --target .uv uv" in run and run.rpartition(";")[0] == test.rpartition(";")[0]
    assert test in (ROOT / ".ci" / "run").read_text().splitlines()


def test_its_plugin_is_one(install):
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "hookimpl" in block]
    (project,) = [block for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "[project]" in block]
    assert tomllib.loads(project)["project"]["name"] == "ditbench-mine"
    install("ditbench-mine", "ditbench_mine", source, entry="mine")
    registry = Registry.installed(strict=True)
    assert registry.provider("mine").distribution == "ditbench-mine"
    assert registry.architectures["mine"].settings("nano", {}) == {"skip": True, "width": 96, "depth": 4}
