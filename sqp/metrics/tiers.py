"""Quality by tier of a score: do masks that score high segment better? (Table 7 of paper 000.)"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu

from sqp.metrics.rows import columns, finite
from sqp.metrics.stats import cohens_d

TIERS = ("high", "moderate", "low")


@dataclass(frozen=True)
class Tier:
    """One tier: n rows, their share of all, mean and SD (n - 1) of Dice and IoU; NaN with too few rows.

    `cohens_d` is of Dice, the high tier less this one, so above 0 where the high tier is better; NaN for
    itself.
    """

    name: str
    n: int
    share: float
    dice_mean: float
    dice_sd: float
    iou_mean: float
    iou_sd: float
    cohens_d: float


def _mean_sd(values: np.ndarray) -> tuple[float, float]:
    mean = float(values.mean()) if len(values) else float("nan")
    return mean, float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def rank_sum_p(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's rank-sum test, corrected for ties; NaN if a side is empty, 1 if all tie."""
    x, y = (np.asarray(side, dtype=np.float64) for side in (a, b))
    if not len(x) or not len(y):
        return float("nan")
    if np.ptp(np.concatenate([x, y])) == 0:
        return 1.0
    return float(mannwhitneyu(x, y, alternative="two-sided").pvalue)


def tiers(
    score: ArrayLike, dice: ArrayLike, iou: ArrayLike, low: float = 0.5, high: float = 0.8
) -> tuple[list[Tier], dict[tuple[str, str], float]]:
    """Rows `[n]` by score: high (>= `high`), moderate (`low` <= score < `high`), low (< `low`).

    Returns the three tiers, and by pair of names the p of the rank-sum test on Dice. Rows with a NaN or
    infinity in any column are dropped. ValueError unless low < high.

    >>> rows, p = tiers([0.9, 0.8, 0.6, 0.1], [0.9, 0.8, 0.7, 0.2], [0.8, 0.7, 0.5, 0.1])
    >>> [(tier.name, tier.n, round(tier.dice_mean, 2)) for tier in rows]
    [('high', 2, 0.85), ('moderate', 1, 0.7), ('low', 1, 0.2)]
    """
    if not low < high:
        raise ValueError(f"the low threshold must be below the high one, not {low} and {high}")
    s, d, j = columns(score, dice, iou)
    keep = finite(s, d, j)
    s, d, j = s[keep], d[keep], j[keep]
    masks = dict(zip(TIERS, (s >= high, (s >= low) & (s < high), s < low), strict=True))
    rows = []
    for name, mask in masks.items():
        effect = float("nan") if name == TIERS[0] else cohens_d(d[masks[TIERS[0]]], d[mask])
        n = int(mask.sum())
        share = n / len(s) if len(s) else float("nan")
        rows.append(Tier(name, n, share, *_mean_sd(d[mask]), *_mean_sd(j[mask]), effect))
    return rows, {(a, b): rank_sum_p(d[masks[a]], d[masks[b]]) for a, b in combinations(TIERS, 2)}
