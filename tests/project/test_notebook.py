"""The notebook runs from top to bottom, and shows a board, curves and samples."""

from pathlib import Path

import IPython.display
import jupytext
import matplotlib.pyplot as plt
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "two_architectures.py"


@pytest.fixture
def notebook():
    """With parameters that take seconds."""
    notebook = jupytext.read(NOTEBOOK)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source += '\nBUDGET, SAMPLES = "4-steps", 20\n'
    return notebook


def finished(folder):
    return sorted(path.parent.name[:3] for path in folder.glob("runs/digits/*/record.json"))


@pytest.mark.slow  # two runs: 19 s; README's snippet of the same calls is quick
@pytest.mark.timeout(240)
def test_its_cells_run_one_after_the_other(notebook, tmp_path, monkeypatch):
    """In this process, whose server has the libraries."""
    displayed, figures = [], []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(IPython.display, "display", lambda *what: displayed.extend(what))
    monkeypatch.setattr(plt, "show", lambda: figures.append(plt.gcf()))
    names = {"__name__": "__main__"}
    with plt.rc_context():
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, str(NOTEBOOK), "exec"), names)
    (board,) = [what.data for what in displayed if isinstance(what, IPython.display.HTML)]
    assert "dit:nano" in board and "NaN" not in board and "NA&gt;" not in board
    losses, quality, *pictures = [axes for figure in figures for axes in figure.axes]
    assert len(figures) == 2 and len(losses.lines) == len(quality.lines) == len(pictures) == 2
    assert all(picture.images for picture in pictures)
    plt.close("all")
    assert finished(tmp_path) == ["dit", "uvi"]


@pytest.mark.slow  # a kernel and a server of its own: 50 s; test_its_cells_run_one_after_the_other stays
@pytest.mark.timeout(240)
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output.data for output in outputs if output.output_type == "display_data"]
    assert sum("image/png" in data for data in shown) == 2
    assert any("dit:nano" in data.get("text/html", "") for data in shown)
    assert finished(tmp_path) == ["dit", "uvi"]
