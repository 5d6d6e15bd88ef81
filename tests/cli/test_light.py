"""The light form, without the libraries of the extra `run`: what it does, what it leaves out, and that it says so."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from requirements import EXTRAS, modules

from ditbench.cli import app
from ditbench.errors import DitbenchError
from ditbench.extras import require_run

ROOT = Path(__file__).parents[2]
RECORDS = Path("leaderboard", "records")  # below the test's folder: all but digits, as they are read six times
COUNT = sum(path.parent.name != "digits" for path in (ROOT / RECORDS).rglob("*.json"))
LIGHT = {  # command -> arguments, and a word of what it says
    "list": ([], "uvit"),
    "list tracks": ([], "imagenet256"),
    "list extractors": ([], "digits-cnn"),
    "list autoencoders": ([], "identity"),
    "track show": (["digits"], "[recipe]"),
    "track check": (["digits"], "not checked: that their components can be made"),
    "plugins": ([], "builtins"),
    "commands": (["--json"], "error_schema"),  # with every schema, so no model of an answer asks for torch
    "records schema": ([], "$defs"),
    "records validate": (
        [str(RECORDS)],
        "architecture 'unet:nano/4': no plugin with its source is installed (6 files)",
    ),
    "leaderboard build": ([str(RECORDS), "--out", "board"], f"{COUNT} records ->"),
    "leaderboard export": ([str(RECORDS), "tables"], f"{COUNT} records and"),
    "leaderboard archive": ([str(RECORDS.parent), "board.zip"], f"{COUNT} records of"),
    "leaderboard report": ([str(RECORDS)], "diffit:nano"),
    "leaderboard transfer": ([str(RECORDS)], "fid1k/fashion-cnn"),
    "fetch": (["digits-cnn"], "901f43288be1"),
    "new": (["my-arch"], "ditbench check my_arch"),
}
TORCH = {
    "run", "plan", "sizes", "check", "evaluate", "bridge", "ema", "profile", "import", "export", "env", "data prepare",
    "data floor", "data stats", "data verify", "records verify", "scaling",
}  # fmt: skip
ELSEWHERE = {  # light, too: nothing of theirs
    "status", "diff", "plugins doctor", "records submit", "records import", "leaderboard serve", "runs list",
    "runs remove",
}  # fmt: skip
CODE = """
import contextlib, io, json, sys
for name in {blocked}: sys.modules[name] = None
from ditbench.cli import app
said = {{}}
for command, arguments in json.loads(sys.argv[1]).items():
    sys.argv = ["ditbench", *command.split(), *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        app(sys.argv[1:], standalone_mode=False)
    said[command] = out.getvalue()
print(json.dumps(said))
"""


def commands():
    """Every command there is, as it is typed."""

    def below(group, words):
        for name, command in getattr(group, "commands", {}).items():
            if hasattr(command, "commands"):
                yield from below(command, [*words, name])
                if command.invoke_without_command:
                    yield " ".join([*words, name]), command
            else:
                yield " ".join([*words, name]), command

    return dict(below(typer.main.get_command(app), []))


def test_what_needs_no_torch_does_without(tmp_path):
    asked = {command: arguments for command, (arguments, _) in LIGHT.items()}
    code = CODE.format(blocked=modules(EXTRAS["run"]))
    few = shutil.ignore_patterns("site", "digits")
    shutil.copytree(ROOT / "leaderboard", tmp_path / "leaderboard", ignore=few)
    shutil.copy(ROOT / "CITATION.cff", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asked)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert not {command: said[command] for command, (_, word) in LIGHT.items() if word not in said[command]}
    assert f"{COUNT} records checked: no fault" in said["records validate"]
    assert (tmp_path / "board" / "site" / "index.html").stat().st_size > 1000


def test_every_command_is_known_as_light_or_as_one_that_needs_torch():
    light = {"list" if command.startswith("list ") else command for command in LIGHT}
    found = commands()
    assert found.keys() == light | TORCH | ELSEWHERE
    assert {name for name, command in found.items() if type(command).__name__ == "_TorchCommand"} == TORCH


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("run", []), ("check", ["dit"]), ("sizes", []), ("data stats", ["x"]), ("env", [])],
)
def test_what_needs_torch_says_so_in_one_line(ditbench, monkeypatch, command, arguments):
    monkeypatch.setitem(sys.modules, "torch", None)
    told = ditbench(*command.split(), *arguments, code=2)
    start, _, way_out = told.partition(" needs torch, which is not installed here: ")
    assert start.endswith(f"{command}`") and way_out.endswith("install 'ditbench[run]'\n") and told.count("\n") == 1


def test_a_script_is_told_the_same(monkeypatch):
    import ditbench

    require_run("nobody")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DitbenchError, match=r"^`ditbench.run` needs torch.* install 'ditbench\[run\]'$"):
        ditbench.run()
    for module in [name for name in sys.modules if name.startswith("ditbench.training.objectives")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(DitbenchError, match=r"^`ditbench.TIME_SCALE` needs torch"):
        _ = ditbench.TIME_SCALE
