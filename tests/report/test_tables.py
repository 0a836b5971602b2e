"""Markdown and CSV of a comparison table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.report.tables import formatted, markdown, write_csv

TABLE = pd.DataFrame(
    {
        "method": ["quality_model", "a|b"],
        "n": [1234, 7],
        "pearson": [0.98765, np.nan],
        "pearson_low": [0.9, np.nan],
        "pearson_high": [0.99, np.nan],
        "coverage": [np.nan, np.nan],
        "extra": [1.0, 2.0],
        "note": ["", "constant: no correlation"],
    }
)


def test_three_decimals_intervals_and_dashes():
    text = formatted(TABLE)
    assert list(text.columns) == ["method", "n", "Pearson", "note"]
    assert list(text["Pearson"]) == ["0.988 [0.900, 0.990]", "–"]
    assert list(text["n"]) == ["1234", "7"]
    assert formatted(pd.DataFrame({"r2": [-1e-6]}))["R2"][0] == "0.000"


def test_markdown_is_aligned_and_bars_are_escaped():
    lines = markdown(formatted(TABLE)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("| :--")
    assert r"a\|b" in lines[3]


def test_csv_keeps_every_number(tmp_path):
    back = pd.read_csv(write_csv(TABLE, tmp_path / "t.csv"), keep_default_na=True)
    assert list(back.columns) == list(TABLE.columns)
    np.testing.assert_allclose(back["pearson"], TABLE["pearson"], atol=1e-6)


def test_own_headings_and_p_values():
    table = pd.DataFrame({"p_holm": [0.04, 1e-9, np.nan], "n_paired": [3.0, 4.0, np.nan], "mae": [0.1, 0.2, 0.3]})
    text = formatted(table, {"n_paired": "n", "p_holm": "p"})
    assert text.to_dict("list") == {"n": ["3", "4", "–"], "p": ["0.040", "< 0.001", "–"]}
