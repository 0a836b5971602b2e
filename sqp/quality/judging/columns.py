"""What the columns of a predictions table are; light, so that a table is read without the networks."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from sqp.records.schema import COLUMNS, RENAMED

FIRST = ("image_id", "record_id", "predicted_dice", "low", "high", "verdict")
"""What a predictions table begins with."""

OTHER = (
    *("scale", "mask_empty", "unreadable", "ood_distance", "ood_knn_distance", "ood_image_distance"),
    *("ood_image_knn_distance", "ood", "reason", "record_set", "prompter_label", "audit"),
)
"""What else a prediction adds to a record's columns."""


def score_names(table: pd.DataFrame) -> list[str]:
    """Names of the analytic scores in a table: its numeric columns beside provenance and predictions.

    A score that an older sqp stored under two names counts once.

    Args:
        table: a table of records or predictions.

    Returns:
        Their names, in the table's order.

    Examples:
        >>> score_names(pd.DataFrame({"record_id": ["a"], "dice": [0.9], "predicted_dice": [0.8], "area": [0.7]}))
        ['area']
    """
    known = {*COLUMNS, *FIRST, *OTHER, *RENAMED}
    return [name for name in table.select_dtypes("number").columns if name not in known]


def with_former_scores(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The table with those of `names` that it lacks since they have another name today, for bundles of an older sqp.

    Args:
        table: a table of records or predictions.
        names: names of scores that a bundle asks for.

    Returns:
        The same table, or a copy with the columns added.

    Examples:
        >>> with_former_scores(pd.DataFrame({"mean_entropy": [0.9]}), ["foreground_certainty"]).columns.tolist()
        ['mean_entropy', 'foreground_certainty']
    """
    lacking = [name for name in names if name not in table and RENAMED.get(name) in table]
    return table.assign(**{name: table[RENAMED[name]] for name in lacking})
