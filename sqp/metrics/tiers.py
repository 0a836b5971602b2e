"""Quality by tier of a score: do masks that score high segment better? (Table 7 of paper 000.)"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu
from scipy.stats import t as student_t

from sqp.metrics.nan_reasons import join, rows_note
from sqp.metrics.paired import holm
from sqp.metrics.rows import columns, finite, finite_rows, group_codes

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
    """Dice of tier a against tier b, a being the higher: rank-sum p by group, corrected over the pairs, Cohen's d.

    `n_groups` have rows in either tier. `cohens_d` is of the rows, a less b, so above 0 where the higher tier is
    better. NaN where undefined; `note` says why.
    """

    a: str
    b: str
    n_groups: int
    p: float
    p_holm: float
    cohens_d: float
    note: str


def _mean_sd(values: np.ndarray) -> tuple[float, float]:
    mean = float(values.mean()) if len(values) else float("nan")
    return mean, float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def rank_sum_p(a: ArrayLike, b: ArrayLike, group_a: ArrayLike | None = None, group_b: ArrayLike | None = None) -> float:
    """Two-sided p of the rank-sum test of a `[n]` against b `[m]`, ties at mid-rank, rows of a group counting as one.

    Where each row is its own group (as without groups) it is Wilcoxon's (Mann-Whitney U); else that of Datta and Satten
    (JASA 100, 2005) for clustered data: a random row of each group, over all such draws. A group may have rows on both
    sides. Its statistic is compared with Student's t, groups - 1 degrees of freedom, since a normal law needs dozens of
    groups. NaN values are dropped; NaN if a side is empty, if all values tie, or with a single group.

    Args:
        a: values `[n]`.
        b: values `[m]`.
        group_a: the group of each value of a `[n]`.
        group_b: the group of each value of b `[m]`, by the same names; without both, each value is its own.

    Returns:
        p in [0, 1].

    Raises:
        ValueError: lengths of values and groups differ.

    Examples:
        >>> round(rank_sum_p([1, 2, 3], [4, 5, 6]), 6)
        0.1
        >>> round(rank_sum_p([1, 2, 3, 1], [4, 5, 6, 4], list("abca"), list("defd")), 3)
        0.084
    """
    (x,), (y,) = columns(a), columns(b)
    names = [np.arange(len(x)), np.arange(len(x), len(x) + len(y))]
    if group_a is not None and group_b is not None:
        names = [np.asarray(group_a).ravel(), np.asarray(group_b).ravel()]
    in_a, in_b = np.isfinite(x), np.isfinite(y)
    codes, n_groups = group_codes(np.concatenate([names[0][in_a], names[1][in_b]]), int(in_a.sum() + in_b.sum()))
    x, y = x[in_a], y[in_b]
    if not len(x) or not len(y) or np.ptp(np.concatenate([x, y])) == 0 or n_groups < 2:
        return float("nan")
    if n_groups == len(codes):
        return float(mannwhitneyu(x, y, alternative="two-sided").pvalue)
    return _clustered_rank_sum_p(np.concatenate([x, y]), np.arange(len(codes)) < len(x), codes, n_groups)


def _clustered_rank_sum_p(values: np.ndarray, first: np.ndarray, codes: np.ndarray, n_groups: int) -> float:
    """Datta and Satten's test: `values` `[n]` finite, `first` bool `[n]` says which side, `codes` `[n]` the group."""
    weight = 1 / np.bincount(codes)[codes]  # a row's chance to be its group's
    everywhere = _middle_share(values, weight)  # sum over the groups of each one's distribution function
    within = np.empty(len(values))
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        within[rows] = _middle_share(values[rows], weight[rows])
    share = np.bincount(codes, first * weight, n_groups)  # of the group's rows, those of the first side
    statistic = np.sum(first * weight * (1 + everywhere - within)) / (n_groups + 1)
    others = (share.sum() - share)[codes]
    each = np.bincount(codes, weight * ((n_groups - 1) * first - others) * everywhere / n_groups, n_groups)
    expected = n_groups / (2 * (n_groups + 1)) * (share - share.mean())
    variance = float(np.sum((each / (n_groups + 1) - expected) ** 2))
    if variance < 1e-18:  # nothing but rounding
        return float("nan")
    return float(2 * student_t.sf(abs(statistic - share.sum() / 2) / np.sqrt(variance), n_groups - 1))


def _middle_share(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weight `[n]` below each value plus half of that at it."""
    _, place = np.unique(values, return_inverse=True)
    at = np.bincount(place, weight)
    return (np.cumsum(at) - at / 2)[place]


def cohens_d(a: ArrayLike, b: ArrayLike) -> float:
    """(mean a - mean b) / pooled SD (n - 1 in each variance) of the finite values; above 0 where a is larger.

    NaN with fewer than two values on a side or without spread. Cohen 1988.

    Args:
        a: values `[n]`.
        b: values `[m]`.

    Returns:
        d, without unit.

    Examples:
        >>> cohens_d([3, 5], [1, 3])
        1.414213562373095
    """
    (x,), (y,) = finite_rows(a), finite_rows(b)
    if min(len(x), len(y)) < 2 or np.ptp(x) == np.ptp(y) == 0:
        return float("nan")
    squares = ((x - x.mean()) ** 2).sum() + ((y - y.mean()) ** 2).sum()
    return float((x.mean() - y.mean()) / np.sqrt(squares / (len(x) + len(y) - 2)))


def _size_note(name: str, n: int) -> str:
    return {0: f"no rows in tier {name}", 1: f"one row in tier {name}: no SD"}.get(n, "")


def _pair_note(a: str, x: np.ndarray, b: str, y: np.ndarray, n_groups: int, p: float) -> str:
    reasons = [_size_note(a, len(x)), _size_note(b, len(y))]
    if len(x) and len(y) and np.ptp(np.concatenate([x, y])) == 0:
        reasons.append("all Dice tie: no test")
    elif len(x) and len(y):
        if np.isnan(p):
            reasons.append("one group: no test" if n_groups == 1 else "the groups do not vary: no test")
        if len(x) > 1 and len(y) > 1 and np.ptp(x) == np.ptp(y) == 0:
            reasons.append("Dice constant in both tiers: no Cohen's d")
    return join(*reasons)


def tiers(
    score: ArrayLike,
    dice: ArrayLike,
    iou: ArrayLike,
    low: float = 0.5,
    high: float = 0.8,
    group: ArrayLike | None = None,
) -> tuple[list[Tier], list[TierPair]]:
    """Rows `[n]` by score: high (>= `high`), moderate (`low` <= score < `high`), low (< `low`).

    Rows with a NaN or infinity in any column are dropped. `selective.threshold_at_risk` gives thresholds by calibrated
    risk.

    Args:
        score: scores `[n]`, higher = better.
        dice: true Dice `[n]` in [0, 1].
        iou: true IoU `[n]` in [0, 1].
        low: threshold between low and moderate.
        high: threshold between moderate and high.
        group: the group of each row `[n]`; without, each row is its own.

    Returns:
        The three tiers, and the three pairs of them, tested by group.

    Raises:
        ValueError: `low` is not below `high`, or lengths differ.

    Examples:
        >>> rows, pairs = tiers([0.9, 0.8, 0.6, 0.1], [0.9, 0.8, 0.7, 0.2], [0.8, 0.7, 0.5, 0.1])
        >>> [(tier.name, tier.n, round(tier.dice_mean, 2)) for tier in rows]
        [('high', 2, 0.85), ('moderate', 1, 0.7), ('low', 1, 0.2)]
        >>> [(pair.a, pair.b) for pair in pairs]
        [('high', 'moderate'), ('high', 'low'), ('moderate', 'low')]
    """
    if not low < high:
        raise ValueError(f"the low threshold must be below the high one, not {low} and {high}")
    s, d, j = columns(score, dice, iou)
    codes, _ = group_codes(np.arange(len(s)) if group is None else group, len(s))
    keep = finite(s, d, j)
    dropped = rows_note(s, d, j)
    s, d, j, codes = s[keep], d[keep], j[keep], codes[keep]
    masks = dict(zip(TIERS, (s >= high, (s >= low) & (s < high), s < low), strict=True))
    rows = []
    for name, mask in masks.items():
        n = int(mask.sum())
        share = n / len(s) if len(s) else float("nan")
        rows.append(Tier(name, n, share, *_mean_sd(d[mask]), *_mean_sd(j[mask]), join(_size_note(name, n), dropped)))
    pairs = []
    for a, b in combinations(TIERS, 2):
        x, y = d[masks[a]], d[masks[b]]
        p, n_groups = rank_sum_p(x, y, codes[masks[a]], codes[masks[b]]), len(np.unique(codes[masks[a] | masks[b]]))
        pairs.append(TierPair(a, b, n_groups, p, p, cohens_d(x, y), _pair_note(a, x, b, y, n_groups, p)))
    return rows, [replace(pair, p_holm=float(q)) for pair, q in zip(pairs, holm([o.p for o in pairs]), strict=True)]
