"""Metrics: pure functions of numpy arrays (CPU tensors are read as arrays); nothing of the other rooms.

Columns are `[n]`, one row a record; rows with a NaN are dropped pairwise; what is undefined is NaN. Misuse
(shapes that differ, a float mask) is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

from sqp.metrics import agreement, calibration, overlap

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
    "r2": agreement.r2,
    "mae": agreement.mae,
    "rmse": agreement.rmse,
    "bias": agreement.bias,
}

# (probability map, mask) -> a number
PIXEL_CALIBRATION: dict[str, Callable[..., float]] = {
    "ece": calibration.pixel_ece,
    "brier": calibration.brier,
    "nll": calibration.nll,
}
