"""The two tables of a leaderboard as files for other programs: CSV, Parquet, and CSV described by Croissant."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import pandas as pd

from ..errors import BadValue
from ..extras import install
from ..storage.files import check_target, make_writable, write_bytes
from . import croissant
from .boards import Board
from .citation import Citation
from .export import harmless
from .frames import Table, tables_of

Form = Literal["csv", "parquet", "croissant"]


def write_tables(boards: Sequence[Board], out: Path, form: Form, about: Citation | None = None) -> list[Path]:
    """Write the records' table and the boards' into a folder: the files.

    A Croissant needs to know whom to name and under which licence the tables are: `about`. `BadValue` if what writes
    Parquet is not installed.
    """
    if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise BadValue(f"Parquet is written by 'pyarrow': {install('ditbench[parquet]')}.")
    tables = tables_of(boards)
    content = _files(tables, form)
    if form == "croissant":
        assert about is not None
        content[croissant.FILE_NAME] = _described(boards, tables, content, about)
    make_writable(out)
    for name in content:
        check_target(out / name)
    for name, of in content.items():
        write_bytes(out / name, of)
    return [out / name for name in content]


def _files(tables: Sequence[Table], form: Form) -> dict[str, bytes]:
    if form == "parquet":
        return {f"{table.name}.parquet": _parquet(table) for table in tables}
    return {f"{table.name}.csv": _csv(table) for table in tables}


def _parquet(table: Table) -> bytes:
    into = BytesIO()
    table.frame.to_parquet(into, engine="pyarrow", index=False)
    return into.getvalue()


def _csv(table: Table) -> bytes:
    """With no text that a spreadsheet would compute."""
    texts = {field.name for field in table.fields if field.kind in ("text", "time")}
    safe = {
        name: column.map(harmless, na_action="ignore") if name in texts else column
        for name, column in table.frame.items()
    }
    frame = pd.DataFrame(safe).rename(columns=harmless)
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _described(boards: Sequence[Board], tables: Sequence[Table], content: dict[str, bytes], about: Citation) -> bytes:
    files = {name: (hashlib.sha256(of).hexdigest(), len(of)) for name, of in content.items()}
    newest = max((record.created for board in boards for record in board.records), default=None)
    published = newest.date().isoformat() if newest else "1970-01-01"
    return croissant.croissant(tables, files, about, published).encode()
