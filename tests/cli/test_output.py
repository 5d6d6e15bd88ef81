"""Standard output is the command's alone, whatever plugins print, and wherever."""

import ast
import json
import subprocess
import sys

import pytest
from import_graph import CORE
from records import finished

from ditbench import cli
from ditbench.cli.console import make_console, make_table, plain
from ditbench.cli.display import Lines, verdict
from ditbench.records.record import write_record

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


EVIL = "\x1b[31mred\x9b\u202e\n::error::boo\r::warning::boo"
SAID = r"\x1b[31mred\x9b\u202e"


@pytest.fixture
def told(monkeypatch, capsys):
    """A function that runs a command and gives all that it says."""

    def told(*arguments, code):
        monkeypatch.setattr(sys, "argv", ["ditbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        text = "".join(capsys.readouterr())
        assert (ended.value.code or 0) == code, text
        return text

    return told


def inert(text):
    """Whether a terminal obeys nothing in it, and no line is a command of a workflow."""
    return all(line.isprintable() and not line.lstrip().startswith("::") for line in text.split("\n"))


def test_a_key_of_a_file_is_told_and_not_obeyed(told, tmp_path):
    key = json.dumps(EVIL)
    toml, record = tmp_path / "t.toml", tmp_path / "a-b-seed0-01234567.json"
    toml.write_text(f"{key} = 1\n")
    content = finished("a:b", run_id="a-b-seed0-01234567").model_dump(mode="json")
    record.write_text(json.dumps({**content, EVIL: 1}))
    commands = [("track", "check", toml), ("leaderboard", "report", tmp_path), ("diff", record, record)]
    texts = [told(*command, code=0 if "report" in command else 2) for command in commands]
    assert all(inert(text) and SAID in text and "nothing of this name" in text for text in texts)
    assert inert(told("records", "validate", record, code=1))


def test_what_a_plugin_raises_is_told_and_not_obeyed(told, install):
    install("ditbench-evil", "evil", f"raise ImportError({EVIL!r})")
    install("ditbench-late", "late", LATE)
    for command, code in ((("list", "metrics"), 0), (("plugins",), 0), (("plugins", "doctor"), 1)):
        text = told(*command, code=code)
        assert inert(text) and SAID in text, text


LATE = """
import ditbench

@ditbench.hookimpl
def ditbench_architectures():
    return [ditbench.Architecture(name="late", build="late:build", sizes={"nano": {}}, description="\\x1b[31m\\n::e::")]
"""


def test_what_records_say_is_told_and_not_obeyed(told, tmp_path):
    lost = finished("a:b", metrics=[], status="failed", reason=f"{EVIL} {'word ' * 600_000}", deviations=[EVIL])
    for seed in (0, 1):
        run_id = f"a-b-seed{seed}-01234567"
        write_record(
            lost.model_copy(update={"run_id": run_id, "seed": seed, "device": EVIL}), tmp_path / f"{run_id}.json"
        )
    one, other = sorted(tmp_path.glob("*.json"))
    commands = [("leaderboard", "report", tmp_path), ("diff", one, other), ("diff", one, other, "--json")]
    for command in commands:
        text = told(*command, code=0)
        assert inert(text) and len(text) < 10_000, text[:1000]


def test_how_a_run_ended_is_one_line():
    lost = finished("a:b", metrics=[], status="failed", reason=f"{EVIL} {'word ' * 600_000}")
    assert inert(verdict(lost)) and len(verdict(lost)) <= 4_000
    console = make_console()
    with console.capture() as shown:
        Lines(console).say(EVIL)
        console.print(make_table(EVIL, title=EVIL), markup=False)
    assert "\x1b" not in shown.get() and "\x9b" not in shown.get()
    assert inert(plain(EVIL))
