"""Split-conformal intervals that count a group once.

Several records of one lesion are no independent evidence. Hierarchical conformal prediction (Lee, Barber and
Willett, arXiv 2306.06342; Dunn, Wasserman and Ramdas, JASA 2023) gives each of the G calibration groups the
weight 1 / (G + 1), shared by its records, and 1 / (G + 1) to infinity; the weighted quantile of the
normalised residual |dice - predicted| / scale is the half width in scales. Guarantee: if the groups are
exchangeable with the one to come, a random record of it lies in its interval with a probability of at least 1
- alpha, over the draw of both. It holds on average over records, not for each kind of image, and not for
images of another kind. Of several splits the widest interval is taken: the guarantee then holds for groups that are
exchangeable with those of any one of them, and it is wider than need be for the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sqp.config.checks import check_alpha
from sqp.core.errors import ConfigError


@dataclass(frozen=True)
class Conformal:
    """`quantile` half widths a scale at level 1 - alpha, from `groups` groups and `records` records."""

    quantile: float
    alpha: float
    groups: int
    records: int

    @classmethod
    def fit(
        cls, predicted: ArrayLike, scale: ArrayLike, dice: ArrayLike, group: Sequence[Any], alpha: float = 0.1
    ) -> Conformal:
        """From calibration records. ConfigError where there are too few groups for the asked alpha.

        Args:
            predicted: predicted Dice `[n]`.
            scale: scale `[n]` of the error, above 0.
            dice: true Dice `[n]`.
            group: the group of each record `[n]`.
            alpha: share of the intervals that may miss, in (0, 1).

        Returns:
            The fitted quantile.

        Raises:
            ConfigError: there are too few groups for this alpha.
        """
        groups = len(set(group))
        check_groups(groups, alpha)
        residual = np.abs(np.asarray(dice, float) - np.asarray(predicted, float)) / np.asarray(scale, float)
        return cls(group_quantile(residual, group, alpha), alpha, groups, len(residual))

    @classmethod
    def widest(cls, fitted: Sequence[Conformal]) -> Conformal:
        """The widest of those fitted on disjoint groups at one alpha; it counts the groups and records of all.

        Args:
            fitted: at least one, of disjoint groups.

        Returns:
            The widest.

        Examples:
            >>> Conformal.widest([Conformal(1.5, 0.1, 40, 90), Conformal(2.0, 0.1, 20, 30)])
            Conformal(quantile=2.0, alpha=0.1, groups=60, records=120)
        """
        groups, records = sum(part.groups for part in fitted), sum(part.records for part in fitted)
        return cls(max(part.quantile for part in fitted), fitted[0].alpha, groups, records)

    def interval(self, predicted: ArrayLike, scale: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """low, high in [0, 1]; NaN where the prediction is.

        Args:
            predicted: predicted Dice `[n]`.
            scale: scale `[n]` of the error.

        Returns:
            Low and high `[n]`.
        """
        mean, half = np.asarray(predicted, float), self.quantile * np.asarray(scale, float)
        return np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)


def check_groups(groups: int, alpha: float, split: str = "calibration") -> None:
    """ConfigError unless the `groups` of a split suffice for a finite quantile: at least 1 / alpha - 1.

    Args:
        groups: how many groups the split has.
        alpha: share of the intervals that may miss.
        split: the split's name, for the sentence.

    Raises:
        ConfigError: there are too few.
    """
    check_alpha(alpha)
    need = math.ceil(1 / alpha - 1 - 1e-9)
    if groups < need:
        raise ConfigError(
            f"the {split} split has {groups} groups, an interval at {1 - alpha:.0%} needs at least "
            f"{need}: put more images into the split '{split}', or choose a greater --alpha"
        )


def group_quantile(values: ArrayLike, group: Sequence[Any], alpha: float) -> float:
    """The smallest value below or at which groups weigh at least (1 - alpha)(G + 1), each group 1 in all.

    With one record a group it is the usual ceil((1 - alpha)(n + 1))-th smallest.

    Args:
        values: scores of nonconformity `[n]`.
        group: the group of each value `[n]`.
        alpha: share that may lie above, in (0, 1).

    Returns:
        The quantile; infinite where the groups are too few.

    Examples:
        >>> group_quantile([3, 1, 2], ["a", "b", "c"], alpha=0.5)
        2.0
    """
    value = np.asarray(values, float)
    _, index, counts = np.unique(np.asarray(group), return_inverse=True, return_counts=True)
    order = np.argsort(value, kind="stable")
    mass = np.cumsum((1.0 / counts)[index][order])
    position = int(np.searchsorted(mass, (1 - alpha) * (len(counts) + 1) - 1e-9))
    return float(value[order][position]) if position < len(value) else float("inf")
