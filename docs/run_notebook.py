"""Run the notebook and keep what its cells show, for the documentation: uv run python docs/run_notebook.py

It trains for a minute or two. docs/hooks/repository.py puts the outputs under their cells, and refuses those of other
cells than the notebook has.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "notebook"
sys.path.append(str(ROOT / "docs" / "hooks"))

from repository import NOTEBOOK, code_of  # noqa: E402  the place of the page that shows them


def main() -> None:
    """Execute the notebook in a folder of its own, and keep its tables and pictures."""
    notebook = jupytext.read(NOTEBOOK)
    with TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": folder}}).execute()
    TARGET.mkdir(exist_ok=True)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [[kept for output in cell.outputs for kept in _kept(output, place)] for place, cell in enumerate(cells)]
    text = json.dumps({"code": code_of(notebook.cells), "shown": shown}, indent=1, ensure_ascii=False)
    (TARGET / "outputs.json").write_text(text + "\n", encoding="utf-8")


def _kept(output: NotebookNode, place: int) -> list[str]:
    """A table as HTML, a picture as the name of its file; text that only says how far it is is left out."""
    data = output.get("data", {})
    if "image/png" in data:
        name = f"cell-{place}.png"
        (TARGET / name).write_bytes(base64.b64decode(data["image/png"]))
        return [f"![What the cell above draws](notebook/{name})"]
    return [_plain(data["text/html"])] if "text/html" in data else []


def _plain(html: str) -> str:
    """A data frame's table on one line, without the style that notebooks give it."""
    table = html[html.index("<table") : html.index("</table>") + len("</table>")]
    return "".join(line.strip() for line in table.replace(' border="1" class="dataframe"', "").splitlines())


if __name__ == "__main__":
    main()
