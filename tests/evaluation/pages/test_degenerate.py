"""Input that says nothing: every page is still written, and every figure that is NaN has its reason in its row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.evaluation.pages import PAGES


def only_one(table: pd.DataFrame) -> pd.DataFrame:
    test = table[(table["split"] == "test") & (table["variant"] == "natural")]
    return pd.concat([test.head(1), table[table["split"] == "calibration"]])


def all_equal(table: pd.DataFrame) -> pd.DataFrame:
    numbers = [name for name in table.select_dtypes("number") if name not in ("height", "width", "seed", "n_samples")]
    return table.assign(**dict.fromkeys(numbers, 0.75))


DEGENERATE = {
    "one row": only_one,
    "all equal": all_equal,
    "one group": lambda table: table.assign(group="patient"),
    "all scores tie": lambda table: table.assign(predicted_dice=0.5, c_lesion=0.5, area=0.5),
    "NaN predictions": lambda table: table.assign(predicted_dice=np.nan, low=np.nan, high=np.nan),
    "NaN truths but one": lambda table: table.assign(
        dice=table["dice"].where(table["record_id"] == only_one(table)["record_id"].iloc[0])
    ),
    "no calibration rows": lambda table: table[table["split"] == "test"],
}
ENDS = ("_low", "_high", "_difference", "_change", "_apart", "_sd", "p_holm")
"""Of a figure that has its reason, or that one row cannot have."""
NOT_MEANT = {"method": {"quality_model": ["n_paired", "p"]}, "tier": {"low": ["threshold"]}}
"""Column -> value -> the cells that mean nothing in its rows."""


def without_reason(table: pd.DataFrame) -> list[str]:
    """Cells that are NaN in rows without a note; `n` 0 is a reason, too."""
    table = (
        table.drop(columns=["coverage", "width"], errors="ignore") if "method" in table else table
    )  # those are the model's alone
    silent = (table["note"].fillna("") == "") if "note" in table else table["n"] > 0
    found = []
    for name in table.loc[silent].select_dtypes("number"):
        lacking = silent & table[name].isna()
        for column, values in NOT_MEANT.items():
            for value in (value for value, cells in values.items() if name in cells and column in table):
                lacking &= table[column] != value
        found += [f"{row}: {name}" for row in table.index[lacking] if not name.endswith(ENDS)]
    return found


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", DEGENERATE)
def test_every_nan_has_its_reason(evidence, kind, page):
    made = PAGES[page](evidence(DEGENERATE[kind], n_resamples=20, target=["dice", "iou"]))
    text = made.text()
    assert text.startswith(f"# {made.title}")
    for file, tables in made.tables.items():
        for table in tables:
            if "no within-image Spearman" in text:
                table = table.drop(columns="within_spearman", errors="ignore")
            assert not without_reason(table), file
