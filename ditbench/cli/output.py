"""Standard output, which belongs to the command alone: what plugins and libraries print goes to standard error.

With `--json` it holds one JSON document and nothing else: the answer, by `tell_json`, or the fault, by `tell_fault`.
What `tell` and consoles say meanwhile goes to standard error, too. What a command answers is named beside it
(`Commands.command`), and its shapes stand in `answers`.

A command writes by `tell`, or on a console of `console.py`. Both know the stream that the command was given. While it
is at work, nobody else finds that: `sys.stdout` is standard error, and so is file descriptor 1, for what is no Python.

Whatever is told, by these or by `warn`, may quote a stranger's file or a plugin: a terminal finds nothing in it to
obey, and a workflow's log no line that is a command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import for_a_line, printable_lines

if TYPE_CHECKING:
    from ..registry import Plugin

JSON_FLAG = "--json"


class _Streams(NamedTuple):
    """Of the command that is at work: where its words go, and where its answer to programs goes."""

    words: TextIO
    answer: TextIO


_given: list[_Streams] = []
_told: dict[str, str] = {}  # of this command: its "answer", as JSON, and the last "warning"


def _streams() -> _Streams:
    return _given[-1] if _given else _Streams(sys.stdout, sys.stdout)


def output() -> TextIO:
    """Where the command's own words go."""
    return _streams().words


def tell(text: str = "", nl: bool = True) -> None:
    """Say something on standard output, at once."""
    tell_exactly(printable_lines(text), nl)


def tell_exactly(text: str, nl: bool = True) -> None:
    """The same of what is in a form for programs, which has escapes of its own."""
    typer.echo(text, file=output(), nl=nl)


def tell_json(content: object, indent: int = 1, sort_keys: bool = False) -> None:
    """Give programs the answer, in ASCII: models of pydantic, or what JSON has. A command has one."""
    if "answer" in _told:
        raise RuntimeError("a command has answered already")
    _told["answer"] = json.dumps(content, indent=indent, sort_keys=sort_keys, default=_as_json, allow_nan=False)
    typer.echo(_told["answer"], file=_streams().answer)


def _as_json(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def tell_fault(kind: str, code: int, message: str = "") -> None:
    """Give programs the fault in the answer's place, if they have none; the last warning, if there is no message."""
    if JSON_FLAG in sys.argv[1:] and "answer" not in _told:
        why = message or _told.get("warning", "")
        tell_json({"error": {"kind": kind, "message": why.removeprefix("ditbench: "), "exit_code": code}})


def begin() -> None:
    """Nothing has been told yet."""
    _told.clear()


def warn(text: str) -> None:
    """Say something beside what was asked for, in one line, on standard error."""
    _told["warning"] = for_a_line(text)
    typer.echo(_told["warning"], err=True)


def left_out(plugin: Plugin) -> str:
    """That the command does without a faulty plugin, and who knows more."""
    return f"left out {plugin.label}: {plugin.fault} (`ditbench plugins doctor` has the way out)"


def count(number: int, thing: str) -> str:
    """E.g. ``1 run``, ``2 runs``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


@contextmanager
def apart(as_json: bool = False) -> Iterator[None]:
    """What is printed meanwhile, but by `tell` and our consoles, goes to standard error; if `as_json`, that, too."""
    _given.append(_Streams(sys.stderr if as_json else output(), _streams().answer))
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _given.pop()


_KINDS = {str: "TEXT", int: "N", float: "X", Path: "PATH"}


def _in_words(parameters: list[Any]) -> list[Any]:
    """The same with the types that help shows in words: flags, which take no value, and arguments have none."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: ""  # a metavar would take the place of its name
        elif parameter.metavar is None:
            kind = parameter.type_descriptor.annotation
            parameter.metavar = next((_KINDS[one] for one in (kind, *get_args(kind)) if one in _KINDS), None)
    return parameters


def _refuse_empty_path(parameter: Any, given: Any, ctx: Any) -> None:
    """An empty word, as of a variable that is not set, would be the folder that the command is given in."""
    kind = parameter.type_descriptor.annotation
    if Path in (kind, *get_args(kind)) and "" in (given if isinstance(given, (list, tuple)) else (given,)):
        raise typer.BadParameter("'' is empty; name a place, or '.' for this folder", ctx=ctx, param=parameter)


class _Command(TyperCommand):
    """A command that has standard output to itself; its help is written before, and as ever."""

    def get_params(self, ctx: Any) -> Any:
        return _in_words(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, *_ = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in self.get_params(ctx):
            _refuse_empty_path(parameter, given.get(parameter.name), ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        from ..asking import telling
        from ..discovery import spare_libraries

        begin()
        spare_libraries()
        with apart(ctx.params.get("as_json", False)), telling(warn):
            return super().invoke(ctx)


class _TorchCommand(_Command):
    """One that trains, samples, measures or counts: the light form of ditbench has no more than its help."""

    def invoke(self, ctx: Any) -> Any:
        from ..extras import require_run

        require_run(f"`{ctx.command_path}`")
        return super().invoke(ctx)


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        return _in_words(super().get_params(ctx))


_GIVES = "gives"


class Commands(typer.Typer):
    """A group of such commands.

    `gives` is where the shape of a command's answer to `--json` is, as ``module:name``: a pydantic model, or what
    `pydantic.TypeAdapter` makes of a type. It is a string, as help loads no pydantic.
    """

    def __init__(self, **about: Any) -> None:
        super().__init__(cls=_Group, **about)

    def command(
        self, *arguments: Any, needs_torch: bool = False, gives: str = "", **about: Any
    ) -> Callable[[Any], Any]:
        """See `typer.Typer.command`."""
        add = super().command(*arguments, **{"cls": _TorchCommand if needs_torch else _Command, **about})
        return lambda function: add(_giving(function, gives))

    def callback(self, *arguments: Any, gives: str = "", **about: Any) -> Callable[[Any], Any]:
        """See `typer.Typer.callback`: a group's own part, which may be a command, too."""
        add = super().callback(*arguments, **about)
        return lambda function: add(_giving(function, gives))


def _giving(function: Any, gives: str) -> Any:
    setattr(function, _GIVES, gives)  # typer's own wrapper takes it over
    return function


def needs_torch(command: Any) -> bool:
    """Whether the light form of ditbench has no more of a command than its help."""
    return isinstance(command, _TorchCommand)


def gives(command: Any) -> str:
    """Where the shape of a command's answer is; empty: it has none."""
    found: str = getattr(command.callback, _GIVES, "")
    return found


@contextmanager
def own_standard_output() -> Iterator[None]:
    """Around a whole process: file descriptor 1 is standard error, and `sys.stdout` a copy of what it was.

    At the end `sys.stdout` is standard error, too, for what is printed while Python ends. Nothing changes where
    `sys.stdout` is not file descriptor 1, as in a test.
    """
    _fill_closed()
    if not _is_descriptor_1(sys.stdout):
        yield
        return
    sys.stdout.flush()
    copy = os.dup(1)
    os.dup2(2, 1)
    given = sys.stdout = os.fdopen(copy, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    try:
        yield
    finally:
        sys.stdout = sys.stderr
        with suppress(OSError):  # nobody reads any more
            given.close()


def _fill_closed() -> None:
    """Let a stream that was closed when we were started lead nowhere: what is opened next would be taken for it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, this one
            os.set_inheritable(nowhere, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False
