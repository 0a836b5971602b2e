"""Selective use of one score in one row: what it leaves in, what it finds, what it costs in reviews."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from sqp.metrics import failures, selective
from sqp.metrics.notes import failures_note, join, rows_note
from sqp.metrics.rows import finite_rows


def selective_row(
    score: ArrayLike,
    dice: ArrayLike,
    failed_below: Sequence[float] = (0.7, 0.8),
    coverage: float = 0.8,
    caught: float = 0.95,
) -> dict[str, float | str]:
    """n, aurc, excess_aurc, augrc, risk_at_80, and at each bound of Dice (0.7: `_70`) the finding of failures.

    These are n_failed_70 (Dice < 0.7), auroc_70, auprc_70, fpr_at_tpr_70, review_share_70. Risk is 1 - Dice; names
    carry the percent. Rows with a NaN are dropped; `note` says what is NaN and why.

    >>> row = selective_row([0.9, 0.8, 0.3], [0.9, 0.75, 0.2])
    >>> row["n_failed_80"], row["auroc_70"], row["note"]
    (2, 1.0, '')
    """
    s, d = finite_rows(score, dice)
    risk = 1 - d
    row: dict[str, float | str] = {
        "n": len(s),
        "aurc": selective.aurc(s, risk),
        "excess_aurc": selective.excess_aurc(s, risk),
        "augrc": selective.augrc(s, risk),
        f"risk_at_{round(100 * coverage)}": selective.risk_at_coverage(s, risk, coverage),
    }
    reasons = [rows_note(score, dice)]
    for bound in failed_below:
        name, failed = round(100 * bound), d < bound
        row |= {
            f"n_failed_{name}": int(failed.sum()),
            f"auroc_{name}": failures.failure_auroc(s, failed),
            f"auprc_{name}": failures.failure_auprc(s, failed),
            f"fpr_at_tpr_{name}": failures.fpr_at_tpr(s, failed, caught),
            f"review_share_{name}": failures.review_share(s, failed, caught),
        }
        reason = failures_note(s, failed) if len(s) else ""
        reasons.append(f"Dice < {bound:g}: {reason}" if reason else "")
    return row | {"note": join(*reasons)}
