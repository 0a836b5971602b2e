"""Metrics: pure functions of numpy arrays (CPU tensors are read as arrays); nothing of the other rooms.

Columns are `[n]`, one row a record; rows with a NaN are dropped pairwise; what is undefined is NaN. Misuse
(shapes that differ, a float mask) is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

from sqp.metrics import calibration, failures, overlap, selective
from sqp.metrics.agreement import AGREEMENT

__all__ = ["AGREEMENT", "FAILURES", "OVERLAP", "PIXEL_CALIBRATION", "SELECTIVE"]

# (prediction, truth), both masks -> a number
OVERLAP: dict[str, Callable[..., float]] = {
    "dice": overlap.dice,
    "iou": overlap.iou,
    "precision": overlap.precision,
    "recall": overlap.recall,
    "specificity": overlap.specificity,
    "accuracy": overlap.accuracy,
}

# (score [n], risk [n]) -> a number, lower is better
SELECTIVE: dict[str, Callable[..., float]] = {
    "aurc": selective.aurc,
    "excess_aurc": selective.excess_aurc,
    "augrc": selective.augrc,
    "risk_at_coverage": selective.risk_at_coverage,
}

# (score [n], failed [n]) -> a number
FAILURES: dict[str, Callable[..., float]] = {
    "auroc": failures.failure_auroc,
    "auprc": failures.failure_auprc,
    "fpr_at_tpr": failures.fpr_at_tpr,
    "review_share": failures.review_share,
}

# (probability map, mask) -> a number
PIXEL_CALIBRATION: dict[str, Callable[..., float]] = {
    "ece": calibration.pixel_ece,
    "brier": calibration.brier,
    "nll": calibration.nll,
}
