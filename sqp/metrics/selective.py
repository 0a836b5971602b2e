"""What is left when the worst-scored masks are turned away: risk against coverage, its areas, and all of it as a row.

Scores are higher = better; risk is lower = better (1 - Dice). Rows with a NaN or infinity are dropped. Tied scores
cannot be told apart by any threshold, so each tied row carries the mean risk of its tie: this is the expectation over
all orders of the tied rows, and no order of the rows changes it.

Areas are means over the coverages 1/n … 1. (The trapezoid over [1/n, 1], as in torch-uncertainty, differs by order
1/n; that between thresholds, as in fd-shifts, by more inside large ties.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.nan_reasons import failures_note, join, rows_note
from sqp.metrics.rows import finite_rows
from sqp.metrics.weighted import Statistic
from sqp.metrics.weighted_selective import failure_statistics, risk_statistics


def risk_coverage(score: ArrayLike, risk: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, selective risk), both `[n]`: the mean risk of the best-scored i of n rows at coverage i / n.

    Inside a tie the curve is the expectation over its orders; only the end of a tie is a threshold one can
    set. Times its coverage it is the generalized curve of `augrc`.

    Args:
        score: scores `[n]`, higher = better.
        risk: risks `[n]`, lower = better, such as 1 - Dice.

    Returns:
        The two columns, by rising coverage.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> coverage, risk = risk_coverage([0.9, 0.5, 0.5], [0.0, 0.2, 0.4])
        >>> risk.round(3).tolist()
        [0.0, 0.15, 0.2]
    """
    s, r = finite_rows(score, risk)
    order = np.lexsort((r, -s))  # by risk inside a tie: even the rounding does not depend on the order of rows
    s, r = s[order], r[order]
    _, tie, size = np.unique(-s, return_inverse=True, return_counts=True)
    expected = (np.bincount(tie, weights=r) / size)[tie] if len(s) else r
    accepted = np.arange(1, len(s) + 1)
    return accepted / max(len(s), 1), np.cumsum(expected) / accepted


@Statistic
def aurc(weights: np.ndarray, score: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Area under the risk-coverage curve: mean selective risk over the coverages 1/n ... 1; lower is better.

    Geifman & El-Yaniv 2017, 2019, with ties as above: a constant score has the mean risk. NaN without rows.

    Args:
        score: scores `[n]`, higher = better.
        risk: risks `[n]`, lower = better, such as 1 - Dice.

    Returns:
        The area, in the unit of the risk.

    Raises:
        ValueError: lengths differ.
    """
    return risk_statistics(weights, score, risk)["aurc"]


@Statistic
def excess_aurc(weights: np.ndarray, score: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """AURC less that of the oracle, which orders the rows by their risk; at least 0. NaN without rows.

    Geifman et al. 2019, with the true oracle of a continuous risk in place of their approximation.

    Args:
        score: scores `[n]`, higher = better.
        risk: risks `[n]`, lower = better, such as 1 - Dice.

    Returns:
        The area, in the unit of the risk.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> excess_aurc([0.9, 0.1], [0.0, 0.4])
        0.0
    """
    return risk_statistics(weights, score, risk)["excess_aurc"]


@Statistic
def augrc(weights: np.ndarray, score: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Area under coverage · selective risk, the risk of a failure that is let through; lower is better.

    Mean over the coverages 1/n ... 1; a random order has half the mean risk, but for 1/n. NaN without rows. Traub et
    al. 2024 (arXiv 2407.01032).

    Args:
        score: scores `[n]`, higher = better.
        risk: risks `[n]`, lower = better, such as 1 - Dice.

    Returns:
        The area, in the unit of the risk.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> augrc([0.9, 0.1], [0.0, 0.4])
        0.1
    """
    return risk_statistics(weights, score, risk)["augrc"]


@Statistic
def risk_at_coverage(weights: np.ndarray, score: np.ndarray, risk: np.ndarray, coverage: float = 0.8) -> np.ndarray:
    """Mean risk left where the best-scored share `coverage` is kept (rounded up to whole rows); NaN without rows.

    Inside a tie it is the expectation, as in the curve.

    Args:
        score: scores `[n]`, higher = better.
        risk: risks `[n]`, lower = better, such as 1 - Dice.
        coverage: share of the rows that is kept, in (0, 1].

    Returns:
        The mean risk.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> risk_at_coverage([0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.1, 0.3, 0.3, 1.0])
        0.2
    """
    return risk_statistics(weights, score, risk, coverage)["risk_at_coverage"]


def threshold_at_risk(score: ArrayLike, risk: ArrayLike, limit: float) -> float:
    """The lowest score to accept from, so that the accepted rows have a mean risk of at most `limit`.

    Of all such thresholds it keeps the most rows; NaN where there is none. Choose it on calibration rows: it promises
    nothing for others.

    Args:
        score: scores `[n]`, higher = better.
        risk: risks `[n]`, lower = better, such as 1 - Dice.
        limit: the greatest mean risk, in the unit of the risk.

    Returns:
        The threshold: rows that score at least so much are accepted.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> threshold_at_risk([0.9, 0.5, 0.1], [0.0, 0.2, 1.0], limit=0.1)
        0.5
    """
    s, r = finite_rows(score, risk)
    values, tie = np.unique(-s, return_inverse=True)
    accepted = np.cumsum(np.bincount(tie, minlength=len(values)))
    risks = np.cumsum(np.bincount(tie, weights=r, minlength=len(values)))
    good = np.flatnonzero(risks <= limit * accepted + 1e-12)
    return float(-values[good[-1]]) if len(good) else float("nan")


def selective_row(
    score: ArrayLike,
    dice: ArrayLike,
    failed_below: Sequence[float] = (0.7, 0.8),
    coverage: float = 0.8,
    caught: float = 0.95,
) -> dict[str, float | str]:
    """n, aurc, excess_aurc, augrc, risk_at_80, and at each bound of Dice (0.7: `_70`) the finding of

    These are n_failed_70 (Dice < 0.7), auroc_70, auprc_70, fpr_at_tpr_70, review_share_70. Risk is 1 - Dice; names
    carry the percent. Rows with a NaN are dropped; `note` says what is NaN and why.

    Args:
        score: scores `[n]`, higher = better.
        dice: true Dice `[n]` in [0, 1].
        failed_below: bounds of Dice below which a mask has failed.
        coverage: share kept for risk_at_80.
        caught: share of the failures to find.

    Returns:
        name -> number, and `note`.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> row = selective_row([0.9, 0.8, 0.3], [0.9, 0.75, 0.2])
        >>> row["n_failed_80"], row["auroc_70"], row["note"]
        (2, 1.0, '')
    """
    s, d = finite_rows(score, dice)
    once = np.ones((1, len(s)))
    row: dict[str, float | str] = {"n": len(s)}
    row |= {name: float(value[0]) for name, value in risk_statistics(once, s, 1 - d, coverage).items()}
    row[f"risk_at_{round(100 * coverage)}"] = row.pop("risk_at_coverage")
    reasons = [rows_note(score, dice)]
    for bound in failed_below:
        name, failed = round(100 * bound), d < bound
        row[f"n_failed_{name}"] = int(failed.sum())
        found = failure_statistics(once, s, failed.astype(float), caught)
        row |= {f"{statistic}_{name}": float(value[0]) for statistic, value in found.items()}
        reason = failures_note(s, failed) if len(s) else ""
        reasons.append(f"Dice < {bound:g}: {reason}" if reason else "")
    return row | {"note": join(*reasons)}
