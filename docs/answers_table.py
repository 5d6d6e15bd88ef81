"""The table of what each command gives to --json, from the shapes that the commands declare.

`uv run python docs/answers_table.py` puts it into scripts.md; a test says when that is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from ditbench.cli import app
from ditbench.cli.answers import schema
from ditbench.cli.commands import tree
from ditbench.cli.output import gives

PAGE = Path(__file__).with_name("scripts.md")
STARTS, ENDS = "<!-- answers, by docs/answers_table.py -->\n", "<!-- end of the answers -->\n"


def table() -> str:
    """A row for each command that takes --json, in the order of the command line."""
    commands = tree(typer.main.get_command(app))
    rows = [f"| `{name}` | {_told(schema(gives(one)))} |" for name, one in commands.items() if gives(one)]
    return "\n".join(["", "| `ditbench ...` | gives |", "|---|---|", *rows, "", ""])


def _told(of: dict[str, Any]) -> str:
    """The keys of an object, or of those in a list."""
    return "; or ".join(dict.fromkeys(_forms(of, of.get("$defs", {}))))


def _forms(of: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    if "$ref" in of:
        yield from _forms(known[of["$ref"].rpartition("/")[2]], known)
    elif "anyOf" in of:
        for one in of["anyOf"]:
            yield from _forms(one, known)
    elif of["type"] == "array":
        yield f"a list of {' | '.join(_forms(of['items'], known))}".replace("|", "or")
    elif "properties" in of:
        yield ", ".join(f"`{key}`" for key in of["properties"])
    elif isinstance(of.get("additionalProperties"), dict):
        yield f"by name: {' or '.join(_forms(of['additionalProperties'], known))}"
    else:
        yield of["description"].rstrip(".")


def with_table(text: str) -> str:
    """A page with the table between its marks."""
    before, start, rest = text.partition(STARTS)
    _, end, after = rest.partition(ENDS)
    assert start and end, "the page has no place for the table"
    return before + start + table() + end + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
