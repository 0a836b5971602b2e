"""Does a confidence mean what it says? Calibration error of rows, and ECE, Brier, NLL of a probability map.

Bins have equal width over [0, 1]: [low, high), the last one closed. (torchmetrics gives a confidence of
exactly 1 a bin of its own; elsewhere the two agree.) A confidence outside of [0, 1] falls into the first or
last bin with its own value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.overlap import as_mask
from sqp.metrics.rows import columns, finite


def reliability_table(
    confidence: ArrayLike, target: ArrayLike, bins: int = 15, weight: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Per bin `[bins]`: low, high, n (rows), weight, mean confidence, mean target, gap = confidence - target.

    `target` in [0, 1] may be binary or continuous (a Dice). Rows with a NaN or infinity are dropped; means
    and gap of an empty bin are NaN. ValueError for `bins` < 1.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    c, t, w = columns(confidence, target, np.ones(np.size(confidence)) if weight is None else weight)
    keep = finite(c, t, w)
    c, t, w = c[keep], t[keep], w[keep]
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, c, side="right") - 1, 0, bins - 1)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, weights=values, minlength=bins)

    weights = total(w)
    filled = np.where(weights > 0, weights, np.nan)
    mean_confidence, mean_target = total(w * c) / filled, total(w * t) / filled
    return {
        "low": edges[:-1],
        "high": edges[1:],
        "n": np.bincount(index, minlength=bins),
        "weight": weights,
        "confidence": mean_confidence,
        "target": mean_target,
        "gap": mean_confidence - mean_target,
    }


def expected_calibration_error(
    confidence: ArrayLike, target: ArrayLike, bins: int = 15, weight: ArrayLike | None = None
) -> float:
    """Mean over the rows of |mean confidence - mean target| of their bin, in [0, 1]; NaN without rows.

    Naeini et al. 2015, with a target in [0, 1] in place of right or wrong.

    >>> expected_calibration_error([0.9, 0.9, 0.1], [1.0, 0.6, 0.1])
    0.06666666666666665
    """
    table = reliability_table(confidence, target, bins, weight)
    total = table["weight"].sum()
    return float(np.nansum(np.abs(table["gap"]) * table["weight"]) / total) if total > 0 else float("nan")


def _pixels(probability: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    p, t = np.asarray(probability, dtype=np.float64), as_mask(truth)
    if p.shape != t.shape:
        raise ValueError(f"probability and truth differ in shape: {p.shape} and {t.shape}")
    return p.ravel(), t.ravel()


def pixel_ece(probability: ArrayLike, truth: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the foreground probability over the pixels `[*space]` of one map.

    NaN where the map holds a NaN. ValueError where the shapes differ.
    """
    p, t = _pixels(probability, truth)
    return expected_calibration_error(p, t, bins) if np.isfinite(p).all() else float("nan")


def brier(probability: ArrayLike, truth: ArrayLike) -> float:
    """Mean (p - truth)² over the pixels, in [0, 1]. Brier 1950.

    >>> brier(np.array([1.0, 0.5]), np.array([True, False]))
    0.125
    """
    p, t = _pixels(probability, truth)
    return float(np.mean((p - t) ** 2))


def nll(probability: ArrayLike, truth: ArrayLike, eps: float = 1e-7) -> float:
    """Mean negative log-likelihood over the pixels, in nats; p is clamped to [eps, 1 - eps], so at most 16.1.

    >>> round(nll(np.array([0.5, 0.5]), np.array([True, False])), 6)
    0.693147
    """
    p, t = _pixels(probability, truth)
    p = np.clip(p, eps, 1 - eps)
    return float(-np.where(t, np.log(p), np.log1p(-p)).mean())
