"""Standard output, which belongs to the command alone: what plugins and libraries print goes to standard error.

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
from typing import TYPE_CHECKING, Any, TextIO, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import for_a_line, printable_lines

if TYPE_CHECKING:
    from ..registry import Plugin

_given: list[TextIO] = []  # the stream of the command that is at work


def output() -> TextIO:
    """Where the command's own words go."""
    return _given[-1] if _given else sys.stdout


def tell(text: str = "", nl: bool = True) -> None:
    """Say something on standard output, at once."""
    tell_exactly(printable_lines(text), nl)


def tell_exactly(text: str, nl: bool = True) -> None:
    """The same of what is in a form for programs, which has escapes of its own."""
    typer.echo(text, file=output(), nl=nl)


def tell_json(content: object, indent: int = 1) -> None:
    """Give something to programs, in ASCII."""
    tell_exactly(json.dumps(content, indent=indent, default=str))


def warn(text: str) -> None:
    """Say something beside what was asked for, in one line, on standard error."""
    typer.echo(for_a_line(text), err=True)


def left_out(plugin: Plugin) -> str:
    """That the command does without a faulty plugin, and who knows more."""
    return f"left out {plugin.label}: {plugin.fault} (`ditbench plugins doctor` has the way out)"


def count(number: int, thing: str) -> str:
    """E.g. ``1 run``, ``2 runs``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


@contextmanager
def apart() -> Iterator[None]:
    """What is printed meanwhile, but by `tell` and our consoles, goes to standard error."""
    _given.append(output())
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

        spare_libraries()
        with apart(), telling(warn):
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


class Commands(typer.Typer):
    """A group of such commands."""

    def __init__(self, **about: Any) -> None:
        super().__init__(cls=_Group, **about)

    def command(self, *arguments: Any, needs_torch: bool = False, **about: Any) -> Callable[[Any], Any]:
        """See `typer.Typer.command`."""
        return super().command(*arguments, **{"cls": _TorchCommand if needs_torch else _Command, **about})


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
