"""What a leaderboard's folder says of rows beside what their records say: a star on the row, a sentence below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from ..components import Value
from ..errors import BadFile
from ..storage.reading import read_toml
from ..storage.schema import Frozen, Name, first_fault
from .boards import Board, Row
from .tables import name

REMARKS_FILE = "remarks.toml"


class Remark(Frozen):
    """A sentence on all rows of an architecture that were built with some settings."""

    architecture: Name
    settings: dict[str, Value] = {}
    says: Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,300}$")]  # goes on behind "uvit:nano: ", without a full stop

    def is_of(self, row: Row) -> bool:
        """Whether it is of a row."""
        built = row.records[0].architecture
        known = all(key in built.settings and built.settings[key] == value for key, value in self.settings.items())
        return known and built.name == self.architecture


class _File(Frozen):
    remark: list[Remark]


def read_remarks(path: Path) -> list[Remark]:
    """Read and check a file of remarks; `BadFile` names the file and the field."""
    try:
        return _File.model_validate(read_toml(path, "file of remarks")).remark
    except pydantic.ValidationError as error:
        raise BadFile(f"The remarks {str(path)!r} are wrong: {first_fault(error)}.") from None


def with_remarks(boards: Iterable[Board], remarks: Sequence[Remark]) -> list[Board]:
    """The boards with what is to be said of their rows."""

    def marked(row: Row) -> Row:
        return replace(row, remark="; ".join(one.says for one in remarks if one.is_of(row)))

    return [replace(board, rows=tuple(map(marked, board.rows))) for board in boards]


def starred(board: Board) -> list[str]:
    """What the stars of rows stand for, a line for each sentence."""
    found: dict[str, list[str]] = {}
    for row in board.rows:
        if row.remark:
            found.setdefault(row.remark, []).append(name(row, board))
    return [f"* {', '.join(names)}: {says}." for says, names in found.items()]
