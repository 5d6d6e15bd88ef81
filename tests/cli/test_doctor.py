"""What is wrong with an installation is told apart, each with its way out; every listing is there for programs, too."""

import json
import shlex

import pytest
import typer
from test_registry import GOOD

from ditbench.builtins import SHIPPED_PLUGINS
from ditbench.cli import app
from ditbench.discovery import installed_sources
from ditbench.errors import UnknownName
from ditbench.registry import Registry


@pytest.fixture
def four_faults(install):
    install("ditbench-x-broken", "broken", "import no_such_module")
    install("ditbench-x-new", "newer", "raise SystemExit('must not be imported')", requires=["ditbench >= 99"])
    install("ditbench-x-second", "second", GOOD.format(name="dit"))
    install("ditbench-x-wrong", "wrong", "def ditbench_architectures(): return []")
    install(
        "ditbench-y-fine", "fine", GOOD.format(name="fine"), requires=["ditbench<99", "numpy<1", 'nope; extra == "x"']
    )


def test_the_doctor_tells_faults_apart(four_faults, ditbench):
    found = {row["plugin"]: row for row in json.loads(ditbench("plugins", "doctor", "--json", code=1))["plugins"]}
    troubles = {name: row["trouble"] for name, row in found.items() if row["trouble"]}
    assert troubles == {
        "broken": "broken at import",
        "newer": "too new",
        "second": "name taken",
        "wrong": "misregistered",
    }
    assert "needs ditbench>=99, and here is 0.1.0" in found["newer"]["state"]
    assert "ModuleNotFoundError" in found["broken"]["state"] and "import broken" in found["broken"]["way out"]
    assert "belongs to plugin 'dit' of ditbench-dit" in found["second"]["state"]
    assert all(row["from"] for row in found.values())
    (unmet,) = found["fine"]["unmet"]
    assert unmet.startswith("numpy<1, and here is ") and found["fine"]["state"] == "ok"


LATE = """
import ditbench
@ditbench.hookimpl
def ditbench_metrics():
    return [ditbench.Metric(name="late", measure="late_part:measure", higher_is_better=True, sees="features")]
"""


def test_what_breaks_only_when_it_is_used_is_told_by_the_doctor_and_in_one_line_by_a_run(install, tmp_path, ditbench):
    install("ditbench-late", "late", LATE)
    (tmp_path / "site" / "late_part.py").write_text("from ditbench.quality import Score\n")  # where it was once
    rows = json.loads(ditbench("plugins", "doctor", "--json", code=1))["plugins"]
    (told,) = (line for row in rows for line in row["unloadable"])
    assert told.startswith("metric late: 'late_part:measure' can't be loaded: ModuleNotFoundError: No module named")
    assert "python -c 'import late_part' shows the traceback" in told
    out = " ".join(ditbench("plugins", "doctor", code=1).split())
    assert "broken when used" in out and "Broken when used: metric late" in out and "No fault found." not in out
    track = tmp_path / "mine.toml"
    track.write_text(ditbench("track", "show", "digits").replace('name = "digits"', 'name = "mine"'))
    track.write_text(track.read_text().replace('"kid"', '"late"'))
    error = ditbench("run", "--track", str(track), "--plugins", "dit", "--out", str(tmp_path / "runs"), code=2)
    assert error.splitlines()[-1].startswith("ditbench: 'late_part:measure' can't be loaded: ModuleNotFoundError")
    assert "Traceback" not in error


def test_a_plugin_that_ends_the_process_is_told_by_name(install, tmp_path, ditbench):
    install("ditbench-late", "late", LATE)
    (tmp_path / "site" / "late_part.py").write_text("import os; os._exit(0)\n")
    install("ditbench-early", "early", "import os; os._exit(0)\n")
    found = {row["plugin"]: row for row in json.loads(ditbench("plugins", "doctor", "--json", code=1))["plugins"]}
    assert found["early"]["trouble"] == "died at import" and "import early" in found["early"]["way out"]
    (told,) = found["late"]["unloadable"]
    assert told.startswith("plugin 'late' of ditbench-late 0.1, while all that its components name is imported: its ")
    assert told.endswith("process ended with exit code 0 before it had answered")
    assert not found["dit"]["trouble"] and not found["dit"]["unloadable"]


def test_the_doctor_shows_the_way_out(four_faults, ditbench):
    out = " ".join(ditbench("plugins", "doctor", code=1).split())
    assert "plugin 'newer' of ditbench-x-new 0.1, too new: it needs ditbench>=99" in out
    assert "Way out: pip install --upgrade ditbench" in out
    assert "plugin 'fine' of ditbench-y-fine 0.1 asks for what is not here: numpy<1" in out
    assert "No fault found" not in out


def test_a_healthy_installation_is_one(ditbench):
    assert "No fault found." in ditbench("plugins", "doctor")


def test_only_the_plugins_asked_for_are_loaded(install, monkeypatch, ditbench):
    install("ditbench-x-second", "second", GOOD.format(name="dit"))
    monkeypatch.setenv("DITBENCH_PLUGINS", " second,uvit ")
    registry = Registry.installed(strict=True)
    assert registry.architectures.keys() == {"dit", "uvit"}
    assert registry.provider("dit").name == "second" and "digits" in registry.tracks
    others = ", ".join(sorted({*SHIPPED_PLUGINS} - {"uvit"}))
    told = " ".join(ditbench("plugins", "doctor", code=1).split())
    assert f"Not loaded, because DITBENCH_PLUGINS names others: {others}." in told
    assert json.loads(ditbench("env", "--json"))["DITBENCH_PLUGINS"] == "second,uvit"


def test_a_plugin_asked_for_and_not_installed_is_named(monkeypatch):
    monkeypatch.setenv("DITBENCH_PLUGINS", "dit,uvti")
    with pytest.raises(UnknownName, match=r"DITBENCH_PLUGINS\) named 'uvti'. Did you mean 'uvit'"):
        installed_sources()


def test_env_has_no_path_and_no_host(ditbench):
    out = ditbench("env")
    assert "torch" in out and "plugin dit" in out and "ditbench-dit 0.1.0" in out
    assert "/" not in out.replace("Linux", "")


KINDS = ["architectures", "tracks", "datasets", "objectives", "samplers", "metrics", "extractors", "executors"]


@pytest.mark.parametrize("listing", [*(("list", kind) for kind in KINDS), ("plugins",), ("sizes", "dit:nano")])
def test_every_listing_is_json_for_programs(ditbench, listing):
    rows = json.loads(ditbench(*listing, "--json"))
    assert rows and all(isinstance(row, dict) for row in rows)


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_that_parses(path):
    epilog = COMMANDS[path].epilog or ""
    assert epilog.startswith(f"Example: ditbench {' '.join(path)}")
    arguments = shlex.split(epilog.removeprefix(f"Example: ditbench {' '.join(path)}"))
    COMMANDS[path].make_context(path[-1], arguments)


def test_the_shell_completes_names(monkeypatch, capsys):
    for words, completed in [
        ("run --plugins dit,uv", "dit,uvit"),
        ("run --track fash", "fashion32"),
        ("prof", "profile"),
    ]:
        monkeypatch.setenv("_DITBENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"ditbench {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        with pytest.raises(SystemExit):
            app(prog_name="ditbench")
        assert completed in capsys.readouterr().out
