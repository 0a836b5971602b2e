"""The verdict on a mask: what a pipeline does with it."""

from __future__ import annotations

import math

import pandas as pd

from sqp.config.checks import check_thresholds
from sqp.uncertainty.likeness import UNLIKE

VERDICTS = ("accept", "review", "reject", "abstain")


def abstention(predicted: float, mask_empty: bool = False, ood: bool = False, unlike: bool = False) -> str:
    """Why there is no verdict, in words; empty where there is one.

    Args:
        predicted: predicted Dice; NaN where there is none.
        mask_empty: whether the mask is empty.
        ood: whether the record is out of distribution.
        unlike: whether the image is unlike all references, which were to say what the task is.

    Returns:
        The reason.

    Examples:
        >>> abstention(0.9, mask_empty=True)
        'empty mask'
    """
    if mask_empty:
        return "empty mask"
    if math.isnan(predicted):
        return "no prediction (NaN in the maps)"
    if unlike:
        return "unlike all references"
    return "out of distribution" if ood else ""


def verdict(
    low: float,
    high: float,
    predicted: float,
    mask_empty: bool = False,
    ood: bool = False,
    accept: float = 0.80,
    reject: float = 0.70,
) -> str:
    """abstain: NaN, empty mask or out of distribution; accept: low >= accept; reject: high < reject.

    Else review.

    Args:
        low: low end of the interval, a Dice.
        high: high end.
        predicted: predicted Dice; NaN where there is none.
        mask_empty: whether the mask is empty.
        ood: whether the record is out of distribution.
        accept: least low end of an accepted mask.
        reject: a mask whose high end is below it is rejected.

    Returns:
        accept, review, reject or abstain.

    Examples:
        >>> verdict(0.85, 0.95, 0.9), verdict(0.2, 0.6, 0.4), verdict(0.6, 0.9, 0.8)
        ('accept', 'reject', 'review')
        >>> verdict(0.85, 0.95, 0.9, ood=True)
        'abstain'
    """
    check_thresholds(accept, reject)
    if mask_empty or ood or any(math.isnan(value) for value in (low, high, predicted)):
        return "abstain"
    if low >= accept:
        return "accept"
    return "reject" if high < reject else "review"


def judged(table: pd.DataFrame, accept: float = 0.80, reject: float = 0.70) -> pd.DataFrame:
    """The table with verdict and reason made from predicted_dice, low, high and, where there, mask_empty and ood.

    Without a column mask_empty a mask whose score `area` is 0 is empty. An image that is unlike all references
    (`references_likeness`) is out of distribution, too: what these taught says nothing of it. The reason of a record
    marked `unreadable` stays as it is: it says what could not be read.

    Args:
        table: predictions.
        accept: least low end of an accepted mask.
        reject: a mask whose high end is below it is rejected.

    Returns:
        The table with both columns, and `ood`.
    """
    no = pd.Series(False, table.index)
    empty = _flags(table["mask_empty"]) if "mask_empty" in table else table["area"] == 0 if "area" in table else no
    unlike = table["references_likeness"] < UNLIKE if "references_likeness" in table else no
    ood = (_flags(table["ood"]) if "ood" in table else no) | unlike
    rows = list(zip(table["low"], table["high"], table["predicted_dice"], empty, ood, strict=True))
    causes = zip(table["predicted_dice"], empty, ood, unlike, strict=True)
    reason = pd.Series([abstention(*cause) for cause in causes], table.index, str)
    if "unreadable" in table and "reason" in table:
        reason = reason.mask(_flags(table["unreadable"]), table["reason"])
    return table.assign(ood=ood, verdict=[verdict(*row, accept, reject) for row in rows], reason=reason)


def _flags(column: pd.Series) -> pd.Series:
    """bool; a missing value is False."""
    return column.eq(True)
