"""Why a statistic is NaN, in a few words for the column `note` of a table; empty where nothing is missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.rows import columns, finite


def join(*reasons: str) -> str:
    """The reasons that are given, each once, in their order.

    Examples:
        >>> join("one row", "", "one row", "no failures")
        'one row; no failures'
    """
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def rows_note(*arrays: ArrayLike) -> str:
    """That no row is finite in every column, or how many are not.

    Examples:
        >>> rows_note([1.0, float("nan")], [2.0, 2.0])
        '1 of 2 rows undefined'
    """
    keep = finite(*columns(*arrays))
    if not keep.any():
        return "no rows" if not len(keep) else "undefined for every row"
    return "" if keep.all() else f"{int((~keep).sum())} of {len(keep)} rows undefined"


def agreement_note(predicted: ArrayLike, true: ArrayLike) -> str:
    """Why correlations, R2 or limits of agreement are NaN.

    Args:
        predicted: predictions `[n]`.
        true: the truth `[n]`.

    Returns:
        The reasons, or an empty text.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> agreement_note([0.5, 0.5], [0.2, 0.4])
        'constant prediction: no correlation'
    """
    p, t = columns(predicted, true)
    keep = finite(p, t)
    p, t = p[keep], t[keep]
    reasons = [rows_note(predicted, true)]
    if len(p) == 1:
        reasons.append("one row: no correlation, R2 or limits")
    elif len(p):
        reasons.append("constant prediction: no correlation" if np.ptp(p) == 0 else "")
        reasons.append("constant truth: no correlation, no R2" if np.ptp(t) == 0 else "")
    return join(*reasons)


def failures_note(score: ArrayLike, failed: ArrayLike) -> str:
    """Why the detection of failures is NaN, or chance by its score.

    Args:
        score: scores `[n]`.
        failed: 0 or 1 `[n]`.

    Returns:
        The reasons, or an empty text.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> failures_note([0.5, 0.6], [False, False])
        'no failures: nothing to find'
    """
    s, f = columns(score, failed)
    keep = finite(s, f)
    s, bad = s[keep], f[keep] > 0
    reasons = [rows_note(score, failed)]
    if len(s):
        reasons.append("" if bad.any() else "no failures: nothing to find")
        reasons.append("only failures: no AUROC, AUPRC or FPR" if bad.all() else "")
        reasons.append("all scores tie: no order" if np.ptp(s) == 0 else "")
    return join(*reasons)
