"""Statistics of agreement with rows counted by weight, for many weightings at once.

A bootstrap resample is a weighting of the rows by whole numbers, so a thousand resamples are one matrix
`[b, n]` and no row is ever copied or sorted again. `agreement` calls the same functions with every weight
1. Columns must be finite. An undefined value (no weight, a constant column) is NaN, without a warning.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.metrics.calibration import bin_index

_BLOCK = 1_000_000  # signs of pairs held at once: 12 MB
_CONSTANT = 1e-12  # an SD below this share of the mean is rounding: the column is constant
MIN_RECORDS = 3  # a group with fewer records has no rank correlation worth the name


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b of float `[b]`, NaN where b is 0."""
    return np.divide(a, b, out=np.full(len(b), np.nan), where=b != 0)


def mean(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weighted mean `[b]` of x `[n]` or `[b, n]`."""
    total = weights @ x if x.ndim == 1 else np.einsum("bn,bn->b", weights, x)
    return divide(total, weights.sum(axis=1))


def _centred(weights: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x less its weighted mean `[b, n]`, and its weighted variance `[b]` (exactly 0 where x is constant)."""
    middle = mean(weights, x)
    centred = x - middle[:, None]
    variance = divide(np.einsum("bn,bn,bn->b", weights, centred, centred), weights.sum(axis=1))
    return centred, np.where(np.sqrt(variance) <= _CONSTANT * np.abs(middle), 0.0, variance)


def _correlation(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    (xc, x_variance), (yc, y_variance) = _centred(weights, x), _centred(weights, y)
    covariance = divide(np.einsum("bn,bn,bn->b", weights, xc, yc), weights.sum(axis=1))
    return np.clip(divide(covariance, np.sqrt(x_variance) * np.sqrt(y_variance)), -1, 1)


def count(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Number of rows `[b]`."""
    return weights.sum(axis=1)


def sd(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Population SD of the truth `[b]`."""
    return np.sqrt(_centred(weights, true)[1])


def pearson(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Pearson correlation `[b]`."""
    return _correlation(weights, predicted, true)


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


def spearman(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spearman correlation `[b]`, ties by mean rank."""
    if not len(true):
        return np.full(len(weights), np.nan)
    return _correlation(weights, mid_ranks(weights, predicted), mid_ranks(weights, true))


def correlations(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Pearson and Spearman `[b]`, by name."""
    return {"pearson": pearson(weights, x, y), "spearman": spearman(weights, x, y)}


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


def r2(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Coefficient of determination `[b]`, 1 - SSE / SST."""
    return 1 - divide(mean(weights, (predicted - true) ** 2), _centred(weights, true)[1])


def mae(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean absolute error `[b]`."""
    return mean(weights, np.abs(predicted - true))


def rmse(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Root mean squared error `[b]`."""
    return np.sqrt(mean(weights, (predicted - true) ** 2))


def bias(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean of predicted - true `[b]`."""
    return mean(weights, predicted - true)


def _half_width(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """1.96 SD (n - 1) of the differences `[b]`."""
    n = weights.sum(axis=1)
    variance = _centred(weights, predicted - true)[1] * divide(n, n - 1)
    return 1.96 * np.sqrt(np.where(n > 1, variance, np.nan))


def limit_low(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Lower Bland-Altman limit `[b]`."""
    return bias(weights, predicted, true) - _half_width(weights, predicted, true)


def limit_high(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Upper Bland-Altman limit `[b]`."""
    return bias(weights, predicted, true) + _half_width(weights, predicted, true)


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
