"""The mistakes a user can make. Each message names the thing, the culprit and the way out, in one line.

What a caller can set is named as Python names it, in backticks. Only `cli` turns these into text, with flags in place
of such names, and into exit codes; anything else that is raised is a bug and keeps its traceback. Backticks of others,
of a plugin or a library, mean something else: they become quotation marks where the error is made, or comes in.

Whatever others say, in files or by errors, is made fit here for where it is told: a line, a terminal, a page.
"""

import difflib
import html
import re
import reprlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

_SHOWN = 100  # characters of either end of what is too long to show
_LONGEST = 1_000  # characters of what others say: an error of a library may quote megabytes
_LONGEST_LINE = 4_000  # of a message of ours, which may list names
_COMMAND = re.compile(  # what a workflow's runner obeys in a log: of GitHub's own, where a line begins, or anywhere
    r"::(?=(?:error|warning|notice|debug|group|endgroup|echo|add-mask|add-matcher|remove-matcher|add-path|save-state|"
    r"set-env|set-output|stop-commands)(?: [^\n]*?)?::)|##(?=\w*\[)",
    re.IGNORECASE,
)
_BLOCK = re.compile(r"^(\d{1,9}(?=[.)](?: |$))|(?=(?:#{1,6}|[-+])(?: |$)|[-=]{2,}$))")  # headings, lists, lines
_ENDLESS = re.compile(r"'[^']{400,}'|\S{400,}")


def one_line(error: object) -> str:
    """An error, or what a library says, as one line of text; empty if it says nothing."""
    others = isinstance(error, BaseException) and not isinstance(error, DitbenchError)
    return printable(" ".join((_without_backticks(str(error)) if others else str(error)).split()))


def _without_backticks(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"'\1'", text)


def printable(text: str) -> str:
    """The text with what would break its line, or command a terminal, as Python spells it: \\n, \\x1b.

    What a log's reader would obey is taken apart, wherever it stands: a table may fold just before it.
    """
    plain = text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return _COMMAND.sub(lambda found: " ".join(found[0]), plain)


def printable_lines(text: str) -> str:
    """The same of several lines, which stay."""
    return "\n".join(map(printable, text.split("\n")))


def brief(text: str, longest: int = _LONGEST) -> str:
    """The text, or its two ends if it is longer than anybody reads."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 3]}...{text[-end:]}"


def in_markdown(cell: object) -> str:
    """Text that can neither break a Markdown table, begin a block, nor smuggle HTML or links into the page."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(cell)).split())
    text = _BLOCK.sub(r"\1\\", re.sub(r"([\\|`\[\]*_~])", r"\\\1", html.escape(text, quote=False)))
    return re.sub(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", r"\\", text)  # GitHub makes links of bare addresses


def for_a_line(message: str) -> str:
    """A message as it is shown: printable, in one line, and of a word that nobody can read its two ends."""
    words = _ENDLESS.sub(lambda found: f"{found[0][:_SHOWN]}...{found[0][-_SHOWN:]}", one_line(message))
    return brief(words, _LONGEST_LINE)


class DitbenchError(Exception):
    """A user's mistake or a condition of their machine; never a bug. Whatever it quotes, it is one line."""

    def __init__(self, text: object = "", *more: object) -> None:
        ours = (sys._getframe(1).f_globals.get("__package__") or "").partition(".")[0] == __package__
        super().__init__(text if ours else _without_backticks(str(text)), *more)

    def __str__(self) -> str:
        return printable(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, vars(self))  # not by its class, which would ask again who made it


def _again(kind: type[DitbenchError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> DitbenchError:
    """An error that another process has raised."""
    error = kind.__new__(kind, *arguments)
    vars(error).update(attributes)
    return error


class UnknownName(DitbenchError):
    """A name that nothing installed answers to."""

    def __init__(self, kind: str, name: str, known: Iterable[str], way_out: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = " or ".join(map(repr, difflib.get_close_matches(name, self.known, n=2)))
        hint = f" Did you mean {near}?" if near else ""
        super().__init__(f"No {kind} named {name!r}.{hint} Known: {', '.join(self.known) or 'none'}.{way_out}")


class BadValue(DitbenchError):
    """A value that has the wrong form or lies out of range."""


def demand(name: str, value: object, *kinds: type) -> None:
    """`BadValue` unless what a caller gives by this name is of one of these kinds; True is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        called = " or ".join(kind.__name__ for kind in kinds)
        found = "" if value is None else f", not {type(value).__name__}"
        raise BadValue(f"`{name}` {reprlib.repr(value)}: give {called}{found}.")


class PluginFault(DitbenchError):
    """A plugin that broke while loading, registered a wrong type, or claimed a name twice."""


class RunBusy(DitbenchError):
    """A run directory that another process is writing."""


class BadFile(DitbenchError):
    """A file that is missing, damaged, or not what it should be."""


class NoTables(DitbenchError):
    """The tables of runs can't be written. The runs are done, and their records, on the disk, are `records`, too."""

    def __init__(self, why: str, records: Sequence[Any]) -> None:
        self.records = records
        super().__init__(why)


class NoRecordsYet(DitbenchError):
    """No mistake: what was asked for is done, and its records are not there yet. The text says what happened.

    Raised, since `ditbench.run` promises a record for every run, and these have none.
    """

    def __init__(self, text: str, *, interrupted: bool = False) -> None:
        self.interrupted = interrupted  # by Ctrl-C, while it waited
        super().__init__(text)

    def __str__(self) -> str:
        return Exception.__str__(self)  # it may be a script
