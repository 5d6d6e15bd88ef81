"""A rich console that does not cut tables, and text that is safe to show."""

from __future__ import annotations

import re
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..errors import printable, printable_lines
from .output import output
from .streams import in_signs_of

_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?(e[-+]\d+)?%?(\n?\s*(±|\(tie\)).*)?$")
_FILE_WIDTH = 160  # columns when the output is no terminal, so that nothing wraps


def make_console() -> Console:
    """A console as wide as the terminal, or wide enough for any table."""
    console = _Console(file=output())
    return console if console.is_terminal else _Console(file=output(), width=_FILE_WIDTH)


class _Console(Console):
    """One whose text has nothing that a terminal obeys, and no sign that its stream lacks.

    Both are changed before the text is measured, so that columns stay straight.
    """

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(in_signs_of(self.encoding, printable_lines(text)), **how)


class _Table(Table):
    """One whose columns of numbers stand to the right."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for column in self.columns:
            cells = [cell for cell in column.cells if isinstance(cell, str) and cell]
            if cells and all(map(_NUMBER.match, cells)):
                column.justify = "right"
        return super().__rich_console__(console, options)


def make_table(*headers: str, title: str | None = None) -> Table:
    """A table without vertical lines, whose cells fold rather than lose text."""
    table = _Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def plain(cell: object) -> str:
    """Text of a plugin or a record, on one line: its square brackets are no markup, nothing in it is obeyed."""
    return escape(printable(str(cell)))
