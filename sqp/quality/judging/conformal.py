"""Split-conformal intervals that count a group once.

Several records of one lesion are no independent evidence. Hierarchical conformal prediction (Lee, Barber and
Willett, arXiv 2306.06342; Dunn, Wasserman and Ramdas, JASA 2023) gives each of the G calibration groups the
weight 1 / (G + 1), shared by its records, and 1 / (G + 1) to infinity; the weighted quantile of the
normalised residual |dice - predicted| / scale is the half width in scales. Guarantee: if the groups are
exchangeable with the one to come, a random record of it lies in its interval with a probability of at least 1
- alpha, over the draw of both. It holds on average over records, not for each kind of image, and not for
images of another kind. Of several splits the widest interval is taken: the guarantee then holds for groups that are
exchangeable with those of any one of them, and it is wider than need be for the others.

Masks come from makers, too, and the next maker is none of those that calibrated; and of tasks, of which the next is
none of those. With `over` the same is done one level up: each of the M makers, or tasks, weighs 1 / (M + 1), its groups
share that evenly, and the wider of the two quantiles is taken. If makers are exchangeable with the one to come, a
random record of a random group of it lies in its interval with a probability of at least 1 - alpha. Makers here judge
the same lesions, and the model may have learned from them, as it has from the tasks: what is left of the promise for
makers, cameras and tasks that it has not met is measured by leaving them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sqp.config.checks import check_alpha
from sqp.core.errors import ConfigError
from sqp.metrics.intervals import groups_needed


@dataclass(frozen=True)
class Conformal:
    """`quantile` half widths a scale at level 1 - alpha, from `groups` groups and `records` records."""

    quantile: float
    alpha: float
    groups: int
    records: int

    @classmethod
    def fit(
        cls,
        predicted: ArrayLike,
        scale: ArrayLike,
        dice: ArrayLike,
        group: Sequence[Any],
        alpha: float = 0.1,
        over: Sequence[Any] | None = None,
        what: str = "makers of masks",
    ) -> Conformal:
        """From calibration records. ConfigError where there are too few groups for the asked alpha.

        Args:
            predicted: predicted Dice `[n]`.
            scale: scale `[n]` of the error, above 0.
            dice: true Dice `[n]`.
            group: the group of each record `[n]`.
            alpha: share of the intervals that may miss, in (0, 1).
            over: the maker, or the task, of each record `[n]`, where the interval is to hold for the next one, too.
            what: what `over` counts, for the sentence.

        Returns:
            The fitted quantile.

        Raises:
            ConfigError: there are too few groups, makers or tasks for this alpha.
        """
        groups = len(set(group))
        check_groups(groups, alpha)
        residual = np.abs(np.asarray(dice, float) - np.asarray(predicted, float)) / np.asarray(scale, float)
        quantile = group_quantile(residual, group, alpha)
        if over is not None:
            check_groups(len(set(over)), alpha, what=what)
            quantile = max(quantile, group_quantile(residual, over, alpha, within=group))
        return cls(quantile, alpha, groups, len(residual))

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


def check_groups(groups: int, alpha: float, split: str = "calibration", what: str = "groups") -> None:
    """ConfigError unless the `groups` of a split suffice for a finite quantile: at least 1 / alpha - 1.

    Args:
        groups: how many groups the split has.
        alpha: share of the intervals that may miss.
        split: the split's name, for the sentence.
        what: what is counted, for the sentence.

    Raises:
        ConfigError: there are too few.
    """
    check_alpha(alpha)
    need = groups_needed(alpha)
    if groups < need:
        raise ConfigError(
            f"the {split} split has {groups} {what}, an interval at {1 - alpha:.0%} needs at least "
            f"{need}: put more images into the split '{split}', or choose a greater --alpha"
        )


def group_quantile(values: ArrayLike, group: Sequence[Any], alpha: float, within: Sequence[Any] | None = None) -> float:
    """The smallest value below or at which groups weigh at least (1 - alpha)(G + 1), each group 1 in all.

    With one record a group it is the usual ceil((1 - alpha)(n + 1))-th smallest. The records of a group share its
    weight evenly, or with `within` the subgroups do, and their records share theirs.

    Args:
        values: scores of nonconformity `[n]`.
        group: the group of each value `[n]`.
        alpha: share that may lie above, in (0, 1).
        within: the subgroup of each value `[n]`; it may be a part of several groups.

    Returns:
        The quantile; infinite where the groups are too few.

    Examples:
        >>> group_quantile([3, 1, 2], ["a", "b", "c"], alpha=0.5)
        2.0
    """
    value = np.asarray(values, float)
    _, index, counts = np.unique(np.asarray(group), return_inverse=True, return_counts=True)
    weights = (1.0 / counts)[index]
    if within is not None:
        _, part = np.unique(np.asarray(within), return_inverse=True)
        pairs, cell, sizes = np.unique(np.stack([index, part]), axis=1, return_inverse=True, return_counts=True)
        cell = cell.ravel()
        weights = 1.0 / (np.bincount(pairs[0])[index] * sizes[cell])
    order = np.argsort(value, kind="stable")
    mass = np.cumsum(weights[order])
    position = int(np.searchsorted(mass, (1 - alpha) * (len(counts) + 1) - 1e-9))
    return float(value[order][position]) if position < len(value) else float("inf")
