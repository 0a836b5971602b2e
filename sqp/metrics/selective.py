"""What is left when the worst-scored masks are turned away: risk against coverage, and failures found.

Scores are higher = better; risk is lower = better (1 - Dice). Rows with a NaN or infinity are dropped. Tied
scores cannot be told apart by any threshold, so each tied row carries the mean risk of its tie: this is the
expectation over all orders of the tied rows, and no order of the rows changes it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from sqp.metrics.rows import finite_rows


def risk_coverage(score: ArrayLike, risk: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, selective risk), both `[n]`: the mean risk of the best-scored i of n rows at coverage i / n.

    Inside a tie the curve is the expectation over its orders; only the end of a tie is a threshold one can
    set.

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


def aurc(score: ArrayLike, risk: ArrayLike) -> float:
    """Area under the risk-coverage curve: mean selective risk over the coverages 1/n ... 1; lower is better.

    Geifman & El-Yaniv 2017, 2019, with ties as above: a constant score has the mean risk. NaN without rows.
    (The trapezoid between thresholds, as in fd-shifts, differs by order 1/n, and by more inside large
    ties.)
    """
    _, risks = risk_coverage(score, risk)
    return float(risks.mean()) if len(risks) else float("nan")


def failure_auroc(score: ArrayLike, failed: ArrayLike) -> float:
    """Area under the ROC of finding the failed rows (True or 1) by a low score, in [0, 1]; 0.5 is chance.

    The chance that a failed row scores below one that did not fail, ties counting one half. NaN unless both
    occur.

    >>> failure_auroc([0.9, 0.8, 0.3], [False, False, True])
    1.0
    """
    s, f = finite_rows(score, failed)
    return float(roc_auc_score(f > 0, -s)) if len(set((f > 0).tolist())) == 2 else float("nan")
