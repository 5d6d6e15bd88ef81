"""What pages show of the repository, taken from there while the site is built: the board, pictures, the notebook."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jupytext
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "two_architectures.py"
_OUTPUTS = ROOT / "docs" / "notebook" / "outputs.json"  # made by docs/run_notebook.py
_BOARDS = re.compile(r"<!-- boards, .*? -->\n(.*?)<!-- end of the boards -->", re.DOTALL)
_PLACE = "<!-- the board -->"


def on_files(files: Files, config: Any) -> Files:
    """Add the pictures of the board, and the notebook as a page."""
    for name in re.findall(r"\((leaderboard/samples/\S+\.png)\)", _boards()):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "notebook.md", content=_notebook()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the board where a page asks for it."""
    return markdown.replace(_PLACE, _boards()) if _PLACE in markdown else markdown


def _boards() -> str:
    """The boards that stand in the README, made there by `ditbench leaderboard build`."""
    (boards,) = _BOARDS.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return str(boards)


def _notebook() -> str:
    """The notebook's cells as a page, each with what it showed when it was last run; the build does not run it."""
    cells, kept = jupytext.read(NOTEBOOK).cells, json.loads(_OUTPUTS.read_text(encoding="utf-8"))
    if kept["code"] != code_of(cells):
        raise ValueError(f"{_OUTPUTS} is of an older notebook: uv run python docs/run_notebook.py makes it anew.")
    shown = iter(kept["shown"])
    parts = [
        [cell.source] if cell.cell_type == "markdown" else [f"```python\n{cell.source}\n```", *next(shown)]
        for cell in cells
    ]
    return "\n\n".join(text for part in parts for text in part)


def code_of(cells: Sequence[Any]) -> list[str]:
    """What a notebook's cells run."""
    return [cell.source for cell in cells if cell.cell_type == "code"]
