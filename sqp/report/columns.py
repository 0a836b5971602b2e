"""Which columns of a predictions table are what, and their order in the files."""

from __future__ import annotations

import pandas as pd

from sqp.io.schema import COLUMNS

FIRST = ("image_id", "record_id", "predicted_dice", "low", "high", "verdict")
OTHER = ("scale", "mask_empty", "ood_distance", "ood", "record_set")
VERDICTS = ("accept", "review", "reject", "abstain")


def score_names(table: pd.DataFrame) -> list[str]:
    """Names of the analytic scores in a table: its numeric columns beside provenance and predictions.

    >>> score_names(pd.DataFrame({"record_id": ["a"], "dice": [0.9], "predicted_dice": [0.8], "area": [0.7]}))
    ['area']
    """
    known = {*COLUMNS, *FIRST, *OTHER}
    return [name for name in table.select_dtypes("number").columns if name not in known]


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """The same table: `FIRST`, every score, then the rest; a column that it lacks stays away."""
    scores = score_names(table)
    first = [name for name in FIRST if name in table.columns]
    rest = [name for name in table.columns if name not in {*first, *scores}]
    return table[[*first, *scores, *rest]]


def worst_first(table: pd.DataFrame) -> pd.DataFrame:
    """Sorted by predicted Dice, lowest first, rows without one before all (abstentions); ties by id."""
    return table.sort_values(["predicted_dice", "record_id"], na_position="first", ignore_index=True)
