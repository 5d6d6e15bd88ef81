"""Whether a command gave the JSON that it declares; the fixture `ditbench` of all tests asks that of every --json."""

import json

import typer.main

from ditbench.cli import app
from ditbench.cli.answers import FaultAnswer, shape
from ditbench.cli.commands import tree
from ditbench.cli.output import gives

COMMANDS = tree(typer.main.get_command(app))


def named_in(words):
    """The command that is typed."""
    return max((name for name in COMMANDS if list(words[: len(name.split())]) == name.split()), key=len)


def check_answer(words, out, code):
    """A pydantic error, or an `AssertionError`, unless it is one document of the declared shape, or the fault."""
    content = json.loads(out)
    if isinstance(content, dict) and "error" in content:
        assert FaultAnswer.model_validate(content).error.exit_code == code != 0
        return
    shape(gives(COMMANDS[named_in(words)])).validate_json(out)
