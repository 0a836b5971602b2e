"""The notebooks of docs/notebooks run from top to bottom in an empty folder, and are kept without what they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NAMES = ("quickstart", "own_modality")


def outputs(name: str, folder: Path) -> list[Any]:
    """What the code cells of a notebook give, the last value of each; an error in a cell is one here."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
    values = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            data = [out.data for out in cell.outputs if out.output_type == "execute_result"]
            values.append(data[-1] if data else {})
    return values


def test_notebooks_are_kept_without_outputs():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)
    for name in NAMES:
        cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.filterwarnings("ignore")
def test_the_quickstart_runs(tmp_path):
    _, _, one, numbers, table, correlation, _, files = outputs("quickstart", tmp_path)
    assert one["text/plain"].startswith("Assessment(dice ") and "<img" in one["text/html"]
    assert 0 <= float(numbers["text/plain"].strip("()").split(",")[0]) <= 1
    assert table["text/plain"].count("SYN_") == 12
    assert float(correlation["text/plain"].removeprefix("np.float64(").rstrip(")")) > 0
    assert "'predictions.csv'" in files["text/plain"] and "'report.html'" in files["text/plain"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_modality_of_ones_own_runs(tmp_path):
    *_, table, correlation = outputs("own_modality", tmp_path)
    assert table["text/plain"].count("cell_") == 8
    assert "referee_dice" in correlation["text/plain"]
