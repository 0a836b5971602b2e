"""Several uncertainty scores of a record -> one: fitted on calibration rows, then applied to any single record.

"Uncertainty-Aware Segmentation Quality Prediction" (Sikha O K et al. 2025, arXiv 2508.01460) proposes such an
aggregation without giving its formula; these two are sqp's own. Scores are columns `[n, k]`, higher = better. A column
that is constant, or not finite in every calibration row, tells nothing and is left out of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.weighted import divide


class Aggregate(Protocol):
    """Scores `[n, k]` -> one `[n]`, higher = better, NaN where a row has none of the scores."""

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Apply it."""


@dataclass(frozen=True)
class RankAverage:
    """Mean over the scores of a record of each one's mid-rank among the calibration rows, in [0, 1].

    It knows no Dice: the scores' signs are trusted and all count alike. A score that a record does not have (NaN) is
    left out of its mean. `references`: the sorted finite calibration values of each column, empty for one left out.
    """

    references: tuple[np.ndarray, ...]

    @classmethod
    def fit(cls, scores: ArrayLike, dice: ArrayLike) -> RankAverage:
        """From calibration rows; `dice` is not used.

        Args:
            scores: scores `[n, k]`, higher = better; NaN where a row does not have one.
            dice: not used.

        Returns:
            The fitted aggregate.

        Examples:
            >>> fitted = RankAverage.fit([[1, 30], [2, 10], [3, 20]], [0, 0, 0])
            >>> fitted([[2, 40], [9, np.nan], [np.nan, np.nan]]).tolist()
            [0.75, 1.0, nan]
        """
        x = np.asarray(scores, float)
        finite = [np.sort(column[np.isfinite(column)]) for column in x.T]
        return cls(tuple(column if tells else column[:0] for column, tells in zip(finite, _telling(x), strict=True)))

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Mean mid-rank `[n]` of scores `[n, k]`.

        Args:
            scores: scores `[n, k]`, higher = better; NaN where a row does not have one.

        Returns:
            float64 `[n]` in [0, 1]; NaN for a row without any score.
        """
        x = np.asarray(scores, float)
        ranks = np.full(x.shape, np.nan)
        for index, reference in enumerate(self.references):
            rows = np.isfinite(x[:, index])
            if len(reference):
                below, upto = (np.searchsorted(reference, x[rows, index], side) for side in ("left", "right"))
                ranks[rows, index] = (below + upto) / (2 * len(reference))
        present = np.isfinite(ranks)
        return divide(np.where(present, ranks, 0).sum(axis=1), present.sum(axis=1))


@dataclass(frozen=True)
class NonnegRegression:
    """Dice by least squares on the standardised scores, no weight below 0, a free intercept (Lawson & Hanson 1974).

    A score that would need a weight below 0, against its sign, gets 0. A missing score counts as its calibration mean.
    The result is not clipped. `mean`, `scale`, `weight` `[k]`: NaN, 1 and 0 for a column left out.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    intercept: float

    @classmethod
    def fit(cls, scores: ArrayLike, dice: ArrayLike) -> NonnegRegression:
        """From calibration rows `[n, k]` and their Dice `[n]`; rows without a finite Dice are left out.

        Args:
            scores: scores `[n, k]`, higher = better; NaN where a row does not have one.
            dice: true Dice `[n]` of the rows.

        Returns:
            The fitted aggregate; without a column that tells anything it gives NaN.

        Examples:
            >>> fitted = NonnegRegression.fit([[0, 1], [1, 1], [2, 0]], [0.0, 0.4, 0.8])
            >>> fitted([[1.5, 0], [np.nan, 0], [np.nan, np.nan]]).round(6).tolist()
            [0.6, 0.4, nan]
        """
        from scipy.optimize import nnls  # half a second to import

        x, y = np.asarray(scores, float), np.asarray(dice, float)
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        tells = _telling(x)
        mean, scale, weight = np.full(len(tells), np.nan), np.ones(len(tells)), np.zeros(len(tells))
        if not tells.any():
            return cls(mean, scale, weight, float("nan"))
        known = np.where(np.isfinite(x[:, tells]), x[:, tells], np.nan)
        mean[tells], scale[tells] = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        z = np.nan_to_num((known - mean[tells]) / scale[tells])  # a missing score: its mean
        weight[tells] = nnls(z, y - y.mean())[0]
        return cls(mean, scale, weight, float(y.mean()))

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Expected Dice `[n]` of scores `[n, k]`.

        Args:
            scores: scores `[n, k]`, higher = better; NaN where a row does not have one.

        Returns:
            float64 `[n]`, not clipped to [0, 1]; NaN for a row without any score.
        """
        x = np.asarray(scores, float)
        used = np.isfinite(self.mean)
        present = np.isfinite(x[:, used])
        z = np.where(present, (x[:, used] - self.mean[used]) / self.scale[used], 0)
        return np.where(present.any(axis=1), self.intercept + z @ self.weight[used], np.nan)


AGGREGATES: Mapping[str, Callable[[ArrayLike, ArrayLike], Aggregate]] = {
    "rank_average": RankAverage.fit,
    "nonneg_regression": NonnegRegression.fit,
}
"""name -> (scores `[n, k]`, Dice `[n]`) of calibration rows -> the fitted aggregate."""


def _telling(scores: np.ndarray) -> np.ndarray:
    """bool `[k]`: has the column two different finite values?"""
    return np.array([np.unique(column[np.isfinite(column)]).size > 1 for column in scores.T], bool)
