"""What the columns of a predictions table are; light, so that a table is read without the networks."""

from __future__ import annotations

import pandas as pd

from sqp.io.schema import COLUMNS

FIRST = ("image_id", "record_id", "predicted_dice", "low", "high", "verdict")
"""What a predictions table begins with."""

OTHER = (
    *("scale", "mask_empty", "unreadable", "ood_distance", "ood_knn_distance", "ood_image_distance"),
    *("ood_image_knn_distance", "ood", "reason", "record_set", "prompter_label"),
)
"""What else a prediction adds to a record's columns."""


def score_names(table: pd.DataFrame) -> list[str]:
    """Names of the analytic scores in a table: its numeric columns beside provenance and predictions.

    >>> score_names(pd.DataFrame({"record_id": ["a"], "dice": [0.9], "predicted_dice": [0.8], "area": [0.7]}))
    ['area']
    """
    known = {*COLUMNS, *FIRST, *OTHER}
    return [name for name in table.select_dtypes("number").columns if name not in known]
