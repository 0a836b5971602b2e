"""How a predicted quality agrees with the true one: `[n]` against `[n]`, a number out.

Rows in which either is NaN or infinite are dropped, and `n` counts those that remain. What is undefined (no
rows, a constant column for a correlation, a constant truth for R2) is NaN, with no exception and no
warning. R2 and Pearson grow with the spread of the truth, so tables print n, SD, RMSE and MAE beside them.
Columns of unlike lengths are a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics import weighted
from sqp.metrics.rows import columns, finite, finite_rows, group_codes
from sqp.metrics.weighted import Statistic, centred, correlation, divide, mean, mid_ranks


@Statistic
def count(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Rows in which both are finite.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        Their number, at least 0.
    """
    return weights.sum(axis=1)


@Statistic
def sd(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """SD of the truth over the rows used, of the population (divided by n), so that r2 = 1 - rmse² / sd².

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The SD in the unit of the truth; NaN without rows.
    """
    return np.sqrt(centred(weights, true)[1])


@Statistic
def pearson(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Pearson correlation, in [-1, 1].

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The correlation, NaN where a column is constant or has fewer than two rows.

    Examples:
        >>> pearson([1, 2, 3], [2, 4, 6])
        1.0
    """
    return correlation(weights, predicted, true)


@Statistic
def spearman(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spearman rank correlation, ties by mean rank, in [-1, 1].

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The correlation, NaN where a column is constant or has fewer than two rows.
    """
    if not len(true):
        return np.full(len(weights), np.nan)
    return correlation(weights, mid_ranks(weights, predicted), mid_ranks(weights, true))


def kendall(predicted: ArrayLike, true: ArrayLike) -> float:
    """Kendall's tau-b (ties corrected), in [-1, 1].

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        tau-b by scipy, NaN where a column is constant or has fewer than two rows.

    Examples:
        >>> round(kendall([1, 2, 3], [1, 3, 2]), 6)
        0.333333
    """
    from scipy.stats import kendalltau  # a second to import

    x, y = finite_rows(predicted, true)
    return float(kendalltau(x, y, variant="b").statistic) if len(x) > 1 else float("nan")


@Statistic
def r2(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Coefficient of determination 1 - SSE / SST of the prediction, not the squared correlation; at most 1.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        R2, negative where the mean of the truth is the better guess; NaN for a constant truth.

    Examples:
        >>> r2([0.5, 0.5], [0.0, 1.0])  # the mean of the truth explains nothing
        0.0
    """
    return 1 - divide(mean(weights, (predicted - true) ** 2), centred(weights, true)[1])


@Statistic
def mae(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean absolute error.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The error in the unit of the truth; NaN without rows.
    """
    return mean(weights, np.abs(predicted - true))


@Statistic
def rmse(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Root mean squared error.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The error in the unit of the truth; NaN without rows.
    """
    return np.sqrt(mean(weights, (predicted - true) ** 2))


@Statistic
def bias(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean of predicted - true; above 0 the prediction flatters.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The mean in the unit of the truth; NaN without rows.
    """
    return mean(weights, predicted - true)


def _half_width(weights: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """1.96 SD (n - 1) of the differences `[b]`."""
    n = weights.sum(axis=1)
    variance = centred(weights, differences)[1] * divide(n, n - 1)
    return 1.96 * np.sqrt(np.where(n > 1, variance, np.nan))


@Statistic
def limit_low(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The lower Bland-Altman limit of agreement, bias - 1.96 SD (n - 1) of predicted - true; NaN below two rows.

    Between it and `limit_high` lie 95 % of the differences, if these are normal. Bland & Altman 1986.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The limit in the unit of the truth.

    Examples:
        >>> round(limit_low([1, 3], [0, 0]), 4)
        -0.7719
    """
    return mean(weights, predicted - true) - _half_width(weights, predicted - true)


@Statistic
def limit_high(weights: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The upper Bland-Altman limit of agreement, bias + 1.96 SD (n - 1) of predicted - true; NaN below two rows.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.

    Returns:
        The limit in the unit of the truth.
    """
    return mean(weights, predicted - true) + _half_width(weights, predicted - true)


AGREEMENT: dict[str, Callable[..., float]] = {
    "n": count,
    "sd": sd,
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
    "r2": r2,
    "mae": mae,
    "rmse": rmse,
    "bias": bias,
    "limit_low": limit_low,
    "limit_high": limit_high,
}
"""(predicted `[n]`, true `[n]`) -> a number; within_group_spearman stands apart: it takes the images, too."""


def spearman_by_group(x: ArrayLike, y: ArrayLike, group: ArrayLike) -> np.ndarray:
    """Spearman within each group `[g]`, in the sorted order of the groups; NaN where it is undefined.

    Undefined: fewer than 3 finite rows, or x or y constant within the group.

    Args:
        x: values `[n]`.
        y: values `[n]`.
        group: the group (image) of each row `[n]`.

    Returns:
        float64 `[g]` in [-1, 1] or NaN.

    Raises:
        ValueError: lengths differ.
    """
    a, b = columns(x, y)
    codes, n_groups = group_codes(group, len(a))
    keep = finite(a, b)
    return weighted.spearman_by_group(a[keep], b[keep], codes[keep], n_groups)


def within_group_spearman(x: ArrayLike, y: ArrayLike, group: ArrayLike) -> float:
    """Mean of the Spearman within each group (an image), over the groups where it is defined, else NaN.

    Groups with fewer than 3 finite records, or with a constant x or y, are left out: does the score tell
    better masks of one image from worse ones, whatever it says of other images?

    Args:
        x: values `[n]`.
        y: values `[n]`.
        group: the group (image) of each row `[n]`.

    Returns:
        The mean in [-1, 1], NaN where no group has one.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> within_group_spearman([1, 2, 3, 1, 2, 3, 7], [1, 2, 3, 9, 5, 1, 7], list("aaabbbc"))
        0.0
    """
    rho = spearman_by_group(x, y, group)
    rho = rho[~np.isnan(rho)]
    return float(rho.mean()) if len(rho) else float("nan")


def agreement(predicted: ArrayLike, true: ArrayLike, group: ArrayLike | None = None) -> dict[str, float]:
    """Every statistic of `AGREEMENT` by its name.

    Args:
        predicted: predictions `[n]`; rows in which either is NaN or infinite are dropped.
        true: the truth `[n]`, in the unit of the predictions.
        group: the image of each row `[n]`; with it also within_group_spearman, and n_groups, the groups that it
            averages.

    Returns:
        name -> number; `nan_reasons.agreement_note` says why one is NaN.

    Raises:
        ValueError: lengths differ.
    """
    result = {name: statistic(predicted, true) for name, statistic in AGREEMENT.items()}
    result["n"] = int(result["n"])
    if group is not None:
        rho = spearman_by_group(predicted, true, group)
        result["within_group_spearman"] = within_group_spearman(predicted, true, group)
        result["n_groups"] = int(np.count_nonzero(~np.isnan(rho)))
    return result
