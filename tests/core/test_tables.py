"""No cell of a table is run by a spreadsheet, and every cell is read back as it was."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp.core.tables import as_it_was, as_text, csv_text, read_own_csv

FORMULAS = ["=1+1.png", "+a", "-2+3", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://a")', "'=1", "''-x"]
PLAIN = ["a.png", "-0.5", "+1", "-1e-3", "a=b", "", "'quoted'", "-"]


@given(st.text(alphabet="'=+-@\t\ra1.", max_size=6))
def test_what_is_read_back_is_what_was_written(text: str) -> None:
    assert as_it_was(as_text(text)) == text


def test_a_table_comes_back_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    table = pd.DataFrame({"image_id": FORMULAS + PLAIN, "n": range(len(FORMULAS + PLAIN)), "none": None})
    (tmp_path / "a.csv").write_bytes(csv_text(table).encode())
    with (tmp_path / "a.csv").open(newline="") as file:
        cells = [row[0] for row in csv.reader(file)][1:]
    assert all(cell.startswith("'") for cell in cells[: len(FORMULAS)]) and cells[len(FORMULAS) :] == PLAIN
    back = read_own_csv(tmp_path / "a.csv", "", dtype={"image_id": str}, keep_default_na=False)
    assert back["image_id"].tolist() == FORMULAS + PLAIN and back["n"].tolist() == table["n"].tolist()
    assert table["image_id"].tolist() == FORMULAS + PLAIN  # untouched


@pytest.mark.parametrize("text", FORMULAS)
def test_predictions_of_a_file_with_such_a_name(text: str, tmp_path: Path) -> None:
    from sqp.quality.judging.columns import FIRST
    from sqp.report.predictions import read_predictions, write_predictions

    row = dict.fromkeys(FIRST, 0.5) | {"image_id": text, "record_id": text, "verdict": "accept"}
    path, _ = write_predictions(tmp_path, pd.DataFrame([row]))
    assert read_predictions(path).loc[0, ["image", "record_id"]].tolist() == [text, text]
