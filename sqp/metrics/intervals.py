"""Prediction intervals `[low, high]` against the truth: do they cover, and how wide are they?

Rows with a NaN (abstained, or without truth) are dropped. An infinite end is kept: it covers, and its width
is infinite.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.rows import columns


def _rows(*arrays: ArrayLike) -> list[np.ndarray]:
    cols = columns(*arrays)
    keep = ~np.logical_or.reduce([np.isnan(col) for col in cols])
    cols = [col[keep] for col in cols]
    if (cols[0] > cols[1]).any():
        raise ValueError("an interval has its low end above its high end")
    return cols


def groups_needed(alpha: float) -> int:
    """The least number of exchangeable groups of which a split-conformal interval at level 1 - alpha is finite.

    Args:
        alpha: share of the intervals that may miss, in (0, 1).

    Returns:
        The least whole number that is 1 / alpha - 1 or more.

    Examples:
        >>> groups_needed(0.1), groups_needed(0.05)
        (9, 19)
    """
    return math.ceil(1 / alpha - 1 - 1e-9)


def covered(low: ArrayLike, high: ArrayLike, true: ArrayLike) -> np.ndarray:
    """float64 `[n]`: 1 where low <= true <= high, else 0; NaN where one of them is.

    Args:
        low: low ends `[n]`.
        high: high ends `[n]`.
        true: the truth `[n]`.

    Returns:
        0, 1 or NaN for each row.

    Raises:
        ValueError: lengths differ.
    """
    lo, hi, t = columns(low, high, true)
    return np.where(np.isnan(lo) | np.isnan(hi) | np.isnan(t), np.nan, (lo <= t) & (t <= hi))


def coverage(low: ArrayLike, high: ArrayLike, true: ArrayLike) -> float:
    """Share of the rows with low <= true <= high; NaN without rows. ValueError where low > high.

    Args:
        low: low ends `[n]`.
        high: high ends `[n]`.
        true: the truth `[n]`.

    Returns:
        The share in [0, 1].

    Raises:
        ValueError: lengths differ, or a low end lies above its high end.

    Examples:
        >>> coverage([0.1, 0.5, 0.6], [0.4, 0.9, 0.7], [0.4, 0.8, 0.9])
        0.6666666666666666
    """
    lo, hi, t = _rows(low, high, true)
    return float(covered(lo, hi, t).mean()) if len(t) else float("nan")


def mean_width(low: ArrayLike, high: ArrayLike) -> float:
    """Mean of high - low; NaN without rows. ValueError where low > high.

    Args:
        low: low ends `[n]`.
        high: high ends `[n]`.

    Returns:
        The mean in the unit of the truth; infinite where an end is.

    Raises:
        ValueError: lengths differ, or a low end lies above its high end.
    """
    lo, hi = _rows(low, high)
    return float(np.mean(hi - lo)) if len(lo) else float("nan")


def interval_summary(low: ArrayLike, high: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """n, coverage and mean_width over the rows in which low, high and true are given.

    Args:
        low: low ends `[n]`.
        high: high ends `[n]`.
        true: the truth `[n]`.

    Returns:
        name -> number.

    Raises:
        ValueError: lengths differ, or a low end lies above its high end.
    """
    lo, hi, t = _rows(low, high, true)
    return {"n": len(t), "coverage": coverage(lo, hi, t), "mean_width": mean_width(lo, hi)}
