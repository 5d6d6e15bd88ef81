"""The notebook runs from top to bottom, and shows a board, curves and samples."""

from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "two_architectures.py"


@pytest.mark.timeout(240)
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = jupytext.read(NOTEBOOK)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source += '\nBUDGET, SAMPLES = "4-steps", 20\n'
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output.data for output in outputs if output.output_type == "display_data"]
    assert sum("image/png" in data for data in shown) == 2
    assert any("dit:nano" in data.get("text/html", "") for data in shown)
    assert sorted(path.parent.name[:3] for path in tmp_path.glob("runs/digits/*/record.json")) == ["dit", "uvi"]
