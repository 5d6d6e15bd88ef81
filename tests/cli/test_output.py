"""Standard output is the command's alone, whatever plugins print, and wherever."""

import ast
import json
import subprocess
import sys

import pytest
from import_graph import CORE

NOISY = """
import atexit, os, sys
import ditbench

def say(where):
    print("noise of print, in", where)
    print("noise without an end", end="", flush=True)
    sys.__stdout__.write("noise past sys.stdout\\n")
    os.write(1, b"noise of native code\\n")
    os.system("echo noise of a child")

def build(spec, **settings):
    say("build")
    import toy_net
    return toy_net.Toy(spec, width=4)

@ditbench.hookimpl
def ditbench_architectures():
    say("a hook")
    return [ditbench.Architecture(name="noisy", build=build, sizes={"nano": {}})]

say("an import")
"""
AT_THE_END = 'atexit.register(say, "the end")\n'
SIZE = ("sizes", "noisy:nano", "--resolution", "8", "--channels", "1", "--classes", "10", "--space", "pixel")


@pytest.fixture
def noisy(install):
    install("ditbench-noisy", "noisy", NOISY)


def test_nothing_that_a_plugin_prints_is_in_the_answer(install):
    install("ditbench-noisy", "noisy", NOISY + AT_THE_END)
    command = [sys.executable, "-m", "ditbench", *SIZE, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (size,) = json.loads(done.stdout)
    assert size["size"] == "noisy:nano", done.stderr
    for place in ("an import", "a hook", "build"):  # what the plugin leaves for the end never happens
        assert f"noise of print, in {place}" in done.stderr
    for way in ("without an end", "past sys.stdout", "of native code", "of a child"):
        assert done.stderr.count(f"noise {way}") >= 3


@pytest.mark.parametrize(
    "command", [("list", "architectures"), ("plugins",), ("plugins", "doctor"), SIZE, ("env",)], ids=" ".join
)
def test_json_is_json(noisy, ditbench, command):
    assert json.loads(ditbench(*command, "--json"))


def test_a_track_that_is_shown_can_be_checked(noisy, ditbench, tmp_path):
    (tmp_path / "t.toml").write_text(ditbench("track", "show", "digits"))
    assert "as published" in ditbench("track", "check", str(tmp_path / "t.toml"))


def test_the_shell_is_given_names_alone(noisy, monkeypatch):
    words = {"_DITBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "ditbench run --track fash", "COMP_CWORD": "3"}
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    code = "import sys; from ditbench.cli import main; sys.argv = ['ditbench']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["fashion32"], done


@pytest.mark.parametrize("command", [(), ("list",), ("plugins", "doctor")], ids=" ".join)
def test_help_is_on_standard_output(ditbench, command):
    assert "Usage: " in ditbench(*command, "--help")


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-"])
def test_closed_streams_are_missing_and_no_more(noisy, closed):
    command = f"exec '{sys.executable}' -m ditbench list --json {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert not done.stdout or json.loads(done.stdout)


def test_who_reads_no_further_is_no_error(noisy):
    command = f"'{sys.executable}' -m ditbench records schema | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "{\n" and "Traceback" not in done.stderr


@pytest.mark.parametrize("path", sorted((CORE / "cli").rglob("*.py")), ids=lambda path: path.name)
def test_commands_write_by_tell_and_on_our_consoles(path):
    if path.name in ("output.py", "console.py") or "templates" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "Console", "typer.Typer", "sys.stdout.write"), called
            assert called != "typer.echo" or [key for key in node.keywords if key.arg == "err"], ast.unparse(node)
