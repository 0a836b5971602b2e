"""Quality by tier of a score: do masks that score high segment better? (Table 7 of paper 000.)"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu

from sqp.metrics.notes import join, rows_note
from sqp.metrics.paired import holm
from sqp.metrics.rows import columns, finite, finite_rows
from sqp.metrics.stats import cohens_d

TIERS = ("high", "moderate", "low")


@dataclass(frozen=True)
class Tier:
    """One tier: n rows, their share of all, mean and SD (n - 1) of Dice and IoU; NaN with too few rows, see note."""

    name: str
    n: int
    share: float
    dice_mean: float
    dice_sd: float
    iou_mean: float
    iou_sd: float
    note: str


@dataclass(frozen=True)
class TierPair:
    """Dice of tier a against tier b, a being the higher: rank-sum p, corrected over the pairs, and Cohen's d.

    `cohens_d` is a less b, so above 0 where the higher tier is better. NaN where undefined; `note` says why.
    """

    a: str
    b: str
    p: float
    p_holm: float
    cohens_d: float
    note: str


def _mean_sd(values: np.ndarray) -> tuple[float, float]:
    mean = float(values.mean()) if len(values) else float("nan")
    return mean, float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def rank_sum_p(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's rank-sum test (Mann-Whitney U), corrected for ties.

    NaN values are dropped; NaN if a side is empty, or if all values tie: then there are no ranks to sum.

    >>> round(rank_sum_p([1, 2, 3], [4, 5, 6]), 6)
    0.1
    """
    (x,), (y,) = finite_rows(a), finite_rows(b)
    if not len(x) or not len(y) or np.ptp(np.concatenate([x, y])) == 0:
        return float("nan")
    return float(mannwhitneyu(x, y, alternative="two-sided").pvalue)


def _size_note(name: str, n: int) -> str:
    return {0: f"no rows in tier {name}", 1: f"one row in tier {name}: no SD"}.get(n, "")


def _pair_note(a: str, x: np.ndarray, b: str, y: np.ndarray) -> str:
    reasons = [_size_note(a, len(x)), _size_note(b, len(y))]
    if len(x) and len(y) and np.ptp(np.concatenate([x, y])) == 0:
        reasons.append("all Dice tie: no test")
    elif len(x) > 1 and len(y) > 1 and np.ptp(x) == np.ptp(y) == 0:
        reasons.append("Dice constant in both tiers: no Cohen's d")
    return join(*reasons)


def tiers(
    score: ArrayLike, dice: ArrayLike, iou: ArrayLike, low: float = 0.5, high: float = 0.8
) -> tuple[list[Tier], list[TierPair]]:
    """Rows `[n]` by score: high (>= `high`), moderate (`low` <= score < `high`), low (< `low`).

    Returns the three tiers, and the three pairs of them. Rows with a NaN or infinity in any column are dropped.
    `selective.threshold_at_risk` gives thresholds by calibrated risk. ValueError unless low < high.

    >>> rows, pairs = tiers([0.9, 0.8, 0.6, 0.1], [0.9, 0.8, 0.7, 0.2], [0.8, 0.7, 0.5, 0.1])
    >>> [(tier.name, tier.n, round(tier.dice_mean, 2)) for tier in rows]
    [('high', 2, 0.85), ('moderate', 1, 0.7), ('low', 1, 0.2)]
    >>> [(pair.a, pair.b) for pair in pairs]
    [('high', 'moderate'), ('high', 'low'), ('moderate', 'low')]
    """
    if not low < high:
        raise ValueError(f"the low threshold must be below the high one, not {low} and {high}")
    s, d, j = columns(score, dice, iou)
    keep = finite(s, d, j)
    dropped = rows_note(s, d, j)
    s, d, j = s[keep], d[keep], j[keep]
    masks = dict(zip(TIERS, (s >= high, (s >= low) & (s < high), s < low), strict=True))
    rows = []
    for name, mask in masks.items():
        n = int(mask.sum())
        share = n / len(s) if len(s) else float("nan")
        rows.append(Tier(name, n, share, *_mean_sd(d[mask]), *_mean_sd(j[mask]), join(_size_note(name, n), dropped)))
    sides = {(a, b): (d[masks[a]], d[masks[b]]) for a, b in combinations(TIERS, 2)}
    p = [rank_sum_p(x, y) for x, y in sides.values()]
    return rows, [
        TierPair(a, b, p[i], float(q), cohens_d(x, y), _pair_note(a, x, b, y))
        for i, (((a, b), (x, y)), q) in enumerate(zip(sides.items(), holm(p), strict=True))
    ]
