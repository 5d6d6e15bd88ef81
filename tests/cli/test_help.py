"""Help that reads well, examples that parse, and what the shell completes."""

import re
import shlex

import pytest
import typer.main
from rich.console import Console

from ditbench.cli import app, completion
from ditbench.cli.console import make_table
from ditbench.cli.options import parse_architectures
from ditbench.cli.output import count
from ditbench.cli.time_left import TimeLeft
from ditbench.errors import BadValue
from ditbench.leaderboard.intervals import Estimate
from ditbench.leaderboard.tables import Column
from ditbench.registry import Registry, select
from ditbench.runtime.devices import refuse_absent
from ditbench.runtime.progress import Progress


def commands(group, way=()):
    """All commands below a group, by their words."""
    for name, command in group.commands.items():
        yield " ".join((*way, name)), command
        if hasattr(command, "commands"):
            yield from commands(command, (*way, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
EXAMPLES = {way: command.epilog.removeprefix("Example: ") for way, command in COMMANDS.items() if command.epilog}


def test_every_command_has_an_example():
    groups = {way for way, command in COMMANDS.items() if hasattr(command, "commands")}
    assert set(COMMANDS) - set(EXAMPLES) <= groups


@pytest.mark.parametrize("way", EXAMPLES)
def test_an_example_is_a_command_with_names_that_there_are(way):
    words = shlex.split(EXAMPLES[way].partition("ditbench ")[2])[len(way.split()) :]
    given = COMMANDS[way].make_context(way, words).params
    named = parse_architectures(given.get("architectures"), given.get("plugins"))
    for name in filter(None, [*named, given.get("architecture")]):
        assert select(Registry.installed(), name, "nano")
    if given.get("track"):
        assert given["track"] in Registry.installed().tracks


@pytest.mark.parametrize("way", ["", *COMMANDS])
def test_help_shows_no_types_of_python_and_fits_80_columns(way, ditbench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = ditbench(*way.split(), "--help")
    assert not re.search(r"<(bool|str|int( range)?|float|path|list\[.*)>", out)
    assert max(map(len, out.splitlines())) <= 80


def test_help_of_run_is_in_panels(ditbench):
    panels = re.findall("─ ([A-Z][a-z ]+) ─", ditbench("run", "--help"))
    assert panels == [
        "Arguments", "Options", "What to run", "What to measure", "Where and how it runs", "Files and logs",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("begun", "told"),
    [
        ("uv", ["uvit"]),
        ("dit,uv", ["dit,uvit"]),
        ("dit:n", ["dit:nano", "dit:nano/4"]),
        ("dit:nano/4-w", ["dit:nano/4-wide"]),
        ("dit:nano+cond", ["dit:nano+conditioning="]),
        ("dit+conditioning=in", ["dit+conditioning=in-context"]),
        ("dti:", []),
    ],
)
def test_the_shell_completes_every_part_of_a_selection(begun, told):
    assert completion.architectures(begun) == told


def test_the_shell_completes_names(tmp_path):
    context = type("Context", (), {"params": {"track": "digits"}})
    assert completion.budgets(context, "s") == ["smoke", "short", "standard"]
    assert completion.extractors("digits") == ["digits-cnn"] and completion.executors("sl") == ["slurm"]
    assert completion.devices("c")[:2] == ["cpu", "cuda"]


def test_architectures_are_words_or_plugins():
    assert parse_architectures(["dit", "uvit,mdt"]) == ["dit", "uvit", "mdt"] == parse_architectures([], "dit,uvit,mdt")
    with pytest.raises(BadValue, match="not both"):
        parse_architectures(["dit"], "uvit")


def test_a_gpu_is_absent_where_no_driver_has_made_one(tmp_path):
    refuse_absent("cpu", tmp_path)
    with pytest.raises(BadValue, match="no GPU has a driver"):
        refuse_absent("cuda:1", tmp_path)
    (tmp_path / "nvidia0").touch()
    refuse_absent("cuda:1", tmp_path)


def test_numbers_stand_to_the_right():
    table = make_table("name", "value")
    table.add_row("a", "9.50 ± 0.25")
    table.add_row("b", "1,234")
    console = Console(width=80)
    with console.capture() as shown:
        console.print(table)
    lines = [line.rstrip() for line in shown.get().splitlines() if line.strip()]
    assert lines[2].index("a") == lines[3].index("b") and lines[3].endswith("      1,234")


def test_a_column_has_one_number_of_digits():
    cells = {"a": Estimate((0.5,)), "b": Estimate((12.0, 12.5, 13.0)), "c": None}
    column = Column("fid", "quality", cells.__getitem__)
    assert column.texts(list(cells)) == ["0.5000", "12.5000 ± 1.2421", ""]


def test_the_time_that_is_left_is_of_all_runs():
    now = [0.0]
    left = TimeLeft(["a", "b"], lambda: now[0])
    assert left.told() == ""
    now[0] = 60.0
    left.heard("a", Progress("train", 0.5))
    assert left.told() == "2 runs left, about 4:00"
    left.ended("a")
    assert left.told() == "1 run left, about 1:00"
    left.ended("b")
    assert left.told() == ""


def test_plurals():
    assert [count(number, "run") for number in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
