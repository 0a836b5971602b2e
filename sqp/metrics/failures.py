"""How well a low score finds the failures (Dice below a bound), and what finding them costs in reviews.

Scores are higher = better; a failed row is True or 1; rows with a NaN are dropped. A threshold takes a tie whole.
"""

from __future__ import annotations

import numpy as np

from sqp.metrics.weighted import Statistic
from sqp.metrics.weighted_selective import failure_statistics


@Statistic
def failure_auroc(weights: np.ndarray, score: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Area under the ROC of finding the failed rows (True or 1) by a low score, in [0, 1]; 0.5 is chance.

    The chance that a failed row scores below one that did not fail, ties counting one half. NaN unless both
    occur.

    Args:
        score: scores `[n]`, higher = better.
        failed: bool or 0 and 1 `[n]`, True where the mask failed.

    Returns:
        The area.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> failure_auroc([0.9, 0.8, 0.3], [False, False, True])
        1.0
    """
    return failure_statistics(weights, score, failed)["auroc"]


@Statistic
def failure_auprc(weights: np.ndarray, score: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Average precision of finding the failed rows, in [0, 1]; the share of failures is chance.

    NaN unless both occur.

    Args:
        score: scores `[n]`, higher = better.
        failed: bool or 0 and 1 `[n]`, True where the mask failed.

    Returns:
        The average precision.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> failure_auprc([0.9, 0.8, 0.3], [False, True, False])
        0.5
    """
    return failure_statistics(weights, score, failed)["auprc"]


@Statistic
def fpr_at_tpr(weights: np.ndarray, score: np.ndarray, failed: np.ndarray, tpr: float = 0.95) -> np.ndarray:
    """Share of the good rows flagged by the threshold that flags at least `tpr` of the failed ones; lower is better.

    NaN unless both occur.

    Args:
        score: scores `[n]`, higher = better.
        failed: bool or 0 and 1 `[n]`, True where the mask failed.
        tpr: share of the failures that the threshold must flag, in (0, 1].

    Returns:
        The share in [0, 1].

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> fpr_at_tpr([0.9, 0.8, 0.7, 0.3], [False, False, True, True])
        0.0
    """
    return failure_statistics(weights, score, failed, tpr)["fpr_at_tpr"]


@Statistic
def review_share(weights: np.ndarray, score: np.ndarray, failed: np.ndarray, caught: float = 0.95) -> np.ndarray:
    """Share of all rows to review, worst score first, until at least `caught` of the failures are found.

    NaN without failures. The best possible is near `caught` · share of failures, chance near `caught`.

    Args:
        score: scores `[n]`, higher = better.
        failed: bool or 0 and 1 `[n]`, True where the mask failed.
        caught: share of the failures to find, in (0, 1].

    Returns:
        The share in [0, 1].

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> review_share([0.9, 0.8, 0.7, 0.3], [False, False, True, True])
        0.5
    """
    return failure_statistics(weights, score, failed, caught)["review_share"]
