"""Overlap of a volume slice by slice: a good Dice of the volume can hide a slice that is wholly wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.overlap import as_mask


def slice_dice(prediction: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """Dice of each slice of two masks `[d, *space]`, float64 `[d]`; NaN where both are empty, as nothing is there.

    ValueError where the shapes differ.

    >>> slice_dice(np.array([[1, 1], [1, 0], [0, 0]], bool), np.array([[1, 1], [0, 1], [0, 0]], bool)).tolist()
    [1.0, 0.0, nan]
    """
    p, t = as_mask(prediction), as_mask(truth)
    if p.shape != t.shape:
        raise ValueError(f"the masks differ in shape: {p.shape} and {t.shape}")
    both, total = (x.reshape(len(p), -1).sum(axis=1) for x in (p & t, p.astype(np.uint8) + t))
    return np.where(total > 0, 2 * both / np.maximum(total, 1), np.nan)


def worst_slice(prediction: ArrayLike, truth: ArrayLike) -> tuple[float, int]:
    """The least Dice of a slice in which either mask has something, and that slice; (1.0, -1) for two empty masks.

    >>> worst_slice(np.array([[1, 1], [1, 0], [0, 0]], bool), np.array([[1, 1], [0, 1], [0, 0]], bool))
    (0.0, 1)
    """
    values = slice_dice(prediction, truth)
    if np.isnan(values).all():
        return 1.0, -1
    index = int(np.nanargmin(values))
    return float(values[index]), index
