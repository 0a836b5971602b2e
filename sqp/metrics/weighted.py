"""Statistics with rows counted by weight, for many weightings at once.

A bootstrap resample is a weighting of the rows by whole numbers, so a thousand resamples are one matrix
`[b, n]` and no row is ever copied or sorted again. A `Statistic` is the same with every weight 1. Columns
must be finite. An undefined value (no weight, a constant column) is NaN, without a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sqp.metrics.calibration import bin_index
from sqp.metrics.rows import finite_rows

_BLOCK = 1_000_000  # signs of pairs held at once: 12 MB
_CONSTANT = 1e-12  # an SD below this share of the mean is rounding: the column is constant
MIN_RECORDS = 3  # a group with fewer records has no rank correlation worth the name


class Statistic:
    """A statistic of two columns `[n]`; called, it drops the rows in which either is NaN or infinite, and is a number.

    It decorates a function of weights `[b, n]` and finite columns -> `[b]`, which `over` is: many weightings at once.
    """

    def __init__(self, over: Callable[..., np.ndarray]) -> None:
        update_wrapper(self, over)
        self.over = over

    def __call__(self, predicted: ArrayLike, true: ArrayLike, *more: float) -> float:
        """Of the columns as they are. ValueError where their lengths differ."""
        x, y = finite_rows(predicted, true)
        return float(self.over(np.ones((1, len(x))), x, y, *more)[0])


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b of float `[b]`, NaN where b is 0."""
    return np.divide(a, b, out=np.full(len(b), np.nan), where=b != 0)


def mean(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weighted mean `[b]` of x `[n]` or `[b, n]`."""
    total = weights @ x if x.ndim == 1 else np.einsum("bn,bn->b", weights, x)
    return divide(total, weights.sum(axis=1))


def centred(weights: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x less its weighted mean `[b, n]`, and its weighted variance `[b]` (exactly 0 where x is constant)."""
    middle = mean(weights, x)
    away = x - middle[:, None]
    variance = divide(np.einsum("bn,bn,bn->b", weights, away, away), weights.sum(axis=1))
    return away, np.where(np.sqrt(variance) <= _CONSTANT * np.abs(middle), 0.0, variance)


def correlation(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation `[b]` of x and y, each `[n]` or `[b, n]`."""
    (xc, x_variance), (yc, y_variance) = centred(weights, x), centred(weights, y)
    covariance = divide(np.einsum("bn,bn,bn->b", weights, xc, yc), weights.sum(axis=1))
    return np.clip(divide(covariance, np.sqrt(x_variance) * np.sqrt(y_variance)), -1, 1)


def mid_ranks(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Ranks `[b, n]` of x `[n]` where row i occurs `weights[:, i]` times; ties get their mean rank.

    Each row of weights costs a cumulative sum, not a sort. Ranks of rows with weight 0 mean nothing.

    Examples:
        >>> mid_ranks(np.array([[1.0, 1, 1], [2, 1, 0]]), np.array([0.5, 0.1, 0.5]))
        array([[2.5, 1. , 2.5],
               [2.5, 1. , 2.5]])
    """
    order = np.argsort(x, kind="stable")
    values, starts, inverse = np.unique(x[order], return_index=True, return_inverse=True)
    occurrences = weights[:, order]
    if len(values) < len(x):
        occurrences = np.add.reduceat(occurrences, starts, axis=1)
    ranks = np.cumsum(occurrences, axis=1) - (occurrences - 1) / 2
    block = np.empty(len(x), dtype=np.intp)  # of each row, the block of equal values it lies in
    block[order] = inverse
    return ranks[:, block]


def kendall(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Kendall's tau-b `[b]`, ties corrected; every pair is looked at once for all weightings: n² steps."""
    counts, n = weights.astype(np.float32), len(true)  # whole numbers: sums below 2^24 are exact in float32
    concordant = np.zeros(len(weights))
    step = max(1, _BLOCK // max(1, n))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        signs = np.sign(predicted[rows, None] - predicted) * np.sign(true[rows, None] - true)
        concordant += np.einsum("br,br->b", counts @ signs.T.astype(np.float32), weights[:, rows], dtype=np.float64)
    untied = np.sqrt(_untied_pairs(weights, predicted)) * np.sqrt(_untied_pairs(weights, true))
    return np.clip(divide(concordant / 2, untied), -1, 1)


def _untied_pairs(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Pairs of rows `[b]` that differ in x."""
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.r_[np.ones(min(1, len(x)), bool), np.diff(x[order]) != 0])
    tied = np.add.reduceat(weights[:, order], starts, axis=1) if len(x) else weights
    return (weights.sum(axis=1) ** 2 - np.square(tied).sum(axis=1)) / 2


def calibration_error(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray, bins: int = 15) -> np.ndarray:
    """Expected calibration error `[b]` of a prediction of the truth, both in 0..1."""
    gaps = np.zeros((len(true), bins))
    gaps[np.arange(len(true)), bin_index(predicted, bins)] = predicted - true
    return divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def spearman_by_group(x: np.ndarray, y: np.ndarray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """Spearman `[g]` within each group; NaN for fewer than `MIN_RECORDS` rows or a constant x or y."""

    def centred_ranks(values: np.ndarray) -> np.ndarray:
        ranks = pd.Series(values).groupby(codes).rank().to_numpy()
        return ranks - (np.bincount(codes, minlength=n_groups)[codes] + 1) / 2

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(codes, weights=values, minlength=n_groups)

    rx, ry = centred_ranks(x), centred_ranks(y)
    rho = np.clip(divide(total(rx * ry), np.sqrt(total(rx * rx)) * np.sqrt(total(ry * ry))), -1, 1)
    return np.where(np.bincount(codes, minlength=n_groups) >= MIN_RECORDS, rho, np.nan)


def within_group_spearman(
    weights: np.ndarray, predicted: np.ndarray, true: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    """Mean `[b]` of `spearman_by_group`, each group counted by the weight of its rows.

    ValueError where the rows of one group differ in weight: resample wholes that contain the groups.
    """
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rho = spearman_by_group(predicted, true, inverse, len(first))
    by_group = weights[:, first]
    if (weights != by_group[:, inverse]).any():
        raise ValueError("a group of within_group_spearman is cut by the groups that are resampled")
    return mean(by_group[:, ~np.isnan(rho)], rho[~np.isnan(rho)])
