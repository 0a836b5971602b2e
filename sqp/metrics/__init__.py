"""Metrics: pure functions of numpy arrays (CPU tensors are read as arrays); nothing of the other rooms.

Columns are `[n]`, one row a record; rows with a NaN are dropped pairwise; what is undefined is NaN. Misuse
(shapes that differ, a float mask) is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

from sqp.metrics import agreement, calibration, overlap, selective

# (prediction, truth), both masks -> a number
OVERLAP: dict[str, Callable[..., float]] = {
    "dice": overlap.dice,
    "iou": overlap.iou,
    "precision": overlap.precision,
    "recall": overlap.recall,
    "specificity": overlap.specificity,
    "accuracy": overlap.accuracy,
}

# (predicted [n], true [n]) -> a number; within_group_spearman stands apart: it takes the images, too
AGREEMENT: dict[str, Callable[..., float]] = {
    "n": agreement.count,
    "sd": agreement.sd,
    "pearson": agreement.pearson,
    "spearman": agreement.spearman,
    "kendall": agreement.kendall,
    "r2": agreement.r2,
    "mae": agreement.mae,
    "rmse": agreement.rmse,
    "bias": agreement.bias,
    "limit_low": agreement.limit_low,
    "limit_high": agreement.limit_high,
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
    "auroc": selective.failure_auroc,
    "auprc": selective.failure_auprc,
    "fpr_at_tpr": selective.fpr_at_tpr,
    "review_share": selective.review_share,
}

# (probability map, mask) -> a number
PIXEL_CALIBRATION: dict[str, Callable[..., float]] = {
    "ece": calibration.pixel_ece,
    "brier": calibration.brier,
    "nll": calibration.nll,
}
