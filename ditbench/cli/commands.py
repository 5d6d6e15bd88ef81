"""`ditbench commands`: every command, for programs, as the command line itself knows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from ..errors import UnknownName
from .app import EXIT_CODES, LOOK, app, show
from .options import AsJson
from .output import JSON_FLAG, gives, needs_torch, tell_json

if TYPE_CHECKING:
    from .answers.installed import CommandFacts, Parameter

_SENTENCE = re.compile(r"(?<=\.) ")
_KINDS = {bool: "flag", int: "integer", float: "number", Path: "path"}
_OF_HELP = ("help", "install_completion", "show_completion")  # of every command; of none but the application


@app.command(
    gives="ditbench.cli.answers.installed:CommandList",
    rich_help_panel=LOOK,
    epilog="Example: ditbench commands run 'leaderboard build' --json",
)
def commands(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND", help="Those alone, or a group's; one of several words in quotes.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List all commands; as JSON with their arguments, options, exit codes and the JSON Schema of what --json gives."""
    known = tree(context.find_root().command)
    chosen = {way: known[way] for name in names or () for way in _meant(name, known)} if names else known
    if as_json:
        _tell_all(chosen)
        return
    rows = (
        {"command": name, "what it does": summary(one), JSON_FLAG: bool(gives(one))} for name, one in chosen.items()
    )
    show(rows, False, "command", "what it does", JSON_FLAG)


def _meant(name: str, known: Iterable[str]) -> list[str]:
    """The command of this name, and those below a group."""
    found = [way for way in known if f"{way} ".startswith(f"{name} ")]
    if not name.strip() or not found:
        raise UnknownName("command", name, known)
    return found


def tree(group: Any, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command below a group by its words, and groups that are commands themselves."""
    found = {}
    for name, command in group.commands.items():
        way = (*words, name)
        below = hasattr(command, "commands")
        if not below or command.invoke_without_command:
            found[" ".join(way)] = command
        found |= tree(command, way) if below else {}
    return found


def summary(command: Any) -> str:
    """The first sentence of its help."""
    return _SENTENCE.split(_description(command))[0]


def _description(command: Any) -> str:
    return " ".join((command.help or "").split())


def _tell_all(chosen: Mapping[str, Any]) -> None:
    from ..discovery import version
    from .answers import schema
    from .answers.installed import CommandList

    facts = [_facts(name, command) for name, command in chosen.items()]
    fault = schema("ditbench.cli.answers:FaultAnswer")
    tell_json(CommandList(version=version("ditbench"), exit_codes=EXIT_CODES, error_schema=fault, commands=facts))


def _facts(name: str, command: Any) -> CommandFacts:
    from .answers import schema
    from .answers.installed import CommandFacts

    where = gives(command)
    parameters = [one for one in command.params if one.name not in _OF_HELP and not one.hidden]
    return CommandFacts(
        name=name,
        summary=summary(command),
        description=_description(command),
        needs_torch=needs_torch(command),
        arguments=[_parameter(one) for one in parameters if one.param_type_name == "argument"],
        options=[_parameter(one) for one in parameters if one.param_type_name == "option"],
        examples=list(_examples(command)),
        takes_json=bool(where),
        json_schema=schema(where) if where else None,
    )


def _examples(command: Any) -> Iterator[str]:
    _, mark, example = (command.epilog or "").partition("Example: ")
    if mark:
        yield example


def _parameter(one: Any) -> Parameter:
    from .answers.installed import Parameter

    kind = one.type_descriptor.annotation
    inner = get_args(kind)[0] if get_origin(kind) is list else kind
    return Parameter(
        name=one.opts[0],
        type=next((word for of, word in _KINDS.items() if inner is of), "text"),
        required=one.required,
        repeated=one.nargs == -1 or bool(one.multiple),
        default=_plain(one.default),
        choices=_choices(inner),
        least=one.min,
        most=one.max,
        help=one.help or "",
        off=next(iter(one.secondary_opts), None),
    )


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [str(choice.value) for choice in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _plain(default: Any) -> Any:
    """A default as JSON has it; None, too, where the command finds one by itself."""
    if isinstance(default, Enum):
        return default.value
    return str(default) if isinstance(default, Path) else default
