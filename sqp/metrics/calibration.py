"""Does a confidence mean what it says? Calibration error of rows, and ECE, Brier, NLL of a probability map.

Bins have equal width over [0, 1]: [low, high), the last one closed. (torchmetrics gives a confidence of
exactly 1 a bin of its own; elsewhere the two agree.) A confidence outside of [0, 1] falls into the first or
last bin with its own value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics.overlap import as_mask
from sqp.metrics.rows import columns, finite

EPS = 1e-7  # probabilities are kept this far from 0 and 1 in a logarithm
_BEYOND = 1e-6  # rounding that a probability may stand outside of [0, 1]


class BinSums(NamedTuple):
    """What each bin holds, `[bins]`: rows, weight, and the weighted sums of confidence and target."""

    n: np.ndarray
    weight: np.ndarray
    confidence: np.ndarray
    target: np.ndarray

    def __add__(self, other: BinSums) -> BinSums:  # type: ignore[override]
        """The sums over the rows of both."""
        return BinSums(*(a + b for a, b in zip(self, other, strict=True)))


def check_bins(bins: int) -> None:
    """ValueError for fewer than one bin."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")


def bin_index(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin `[n]` of each finite confidence, 0..bins - 1."""
    return np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="right") - 1, 0, bins - 1)


def bin_sums(confidence: np.ndarray, target: np.ndarray, weight: np.ndarray | None, bins: int) -> BinSums:
    """The sums of finite rows `[n]`, each in its bin; without `weight` each row counts one."""
    index = bin_index(confidence, bins)
    n = np.bincount(index, minlength=bins)
    one = np.ones(()) if weight is None else weight

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, weights=values, minlength=bins)

    return BinSums(n, n.astype(float) if weight is None else total(one), total(one * confidence), total(one * target))


def table_of(sums: BinSums) -> dict[str, np.ndarray]:
    """The reliability table of the sums, as `reliability_table` gives it."""
    edges = np.linspace(0, 1, len(sums.n) + 1)
    filled = np.where(sums.weight > 0, sums.weight, np.nan)
    confidence, target = sums.confidence / filled, sums.target / filled
    return {
        "low": edges[:-1],
        "high": edges[1:],
        "n": sums.n,
        "weight": sums.weight,
        "confidence": confidence,
        "target": target,
        "gap": confidence - target,
    }


def error_of(table: dict[str, np.ndarray]) -> float:
    """The expected calibration error of a reliability table; NaN without rows."""
    total = table["weight"].sum()
    return float(np.nansum(np.abs(table["gap"]) * table["weight"]) / total) if total > 0 else float("nan")


def reliability_table(
    confidence: ArrayLike, target: ArrayLike, bins: int = 15, weight: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Per bin `[bins]`: low, high, n (rows), weight, mean confidence, mean target, gap = confidence - target.

    Rows with a NaN or infinity are dropped.

    Args:
        confidence: confidences `[n]`, meant to lie in [0, 1].
        target: targets `[n]` in [0, 1], binary or continuous (a Dice).
        bins: number of bins of equal width, at least 1.
        weight: weights `[n]` of the rows, at least 0; without, each row counts one.

    Returns:
        name -> `[bins]`; means and gap of an empty bin are NaN.

    Raises:
        ValueError: lengths differ, or `bins` is below 1.
    """
    check_bins(bins)
    c, t, w = columns(confidence, target, np.ones(np.size(confidence)) if weight is None else weight)
    keep = finite(c, t, w)
    return table_of(bin_sums(c[keep], t[keep], w[keep], bins))


def expected_calibration_error(
    confidence: ArrayLike, target: ArrayLike, bins: int = 15, weight: ArrayLike | None = None
) -> float:
    """Mean over the rows of |mean confidence - mean target| of their bin, in [0, 1]; NaN without rows.

    Naeini et al. 2015, with a target in [0, 1] in place of right or wrong.

    Args:
        confidence: confidences `[n]`, meant to lie in [0, 1].
        target: targets `[n]` in [0, 1], binary or continuous (a Dice).
        bins: number of bins of equal width, at least 1.
        weight: weights `[n]` of the rows, at least 0; without, each row counts one.

    Returns:
        The error in [0, 1].

    Raises:
        ValueError: lengths differ, or `bins` is below 1.

    Examples:
        >>> expected_calibration_error([0.9, 0.9, 0.1], [1.0, 0.6, 0.1])
        0.06666666666666665
    """
    return error_of(reliability_table(confidence, target, bins, weight))


def pixels(probability: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(p float64 `[n]`, truth bool `[n]`) of a map and a mask; ValueError where shapes differ or p is no probability.

    NaN and infinity pass; other values outside of [0, 1] by more than rounding are logits, and refused.

    Args:
        probability: foreground probability `[*space]` in [0, 1].
        truth: mask `[*space]`, bool or integer.

    Returns:
        The two columns.

    Raises:
        ValueError: shapes differ, the truth is a float map, or a value is no probability.
    """
    p, t = np.asarray(probability, dtype=np.float64), as_mask(truth)
    if p.shape != t.shape:
        raise ValueError(f"probability and truth differ in shape: {p.shape} and {t.shape}")
    low, high = float(np.fmin.reduce(p, axis=None)), float(np.fmax.reduce(p, axis=None))
    if -np.inf < low < -_BEYOND or np.inf > high > 1 + _BEYOND:
        raise ValueError(f"a probability lies in 0..1, this map in {low:g}..{high:g}: give sigmoid(logits)")
    return p.ravel(), t.ravel()


def log_loss(p: np.ndarray, truth: np.ndarray, eps: float = EPS) -> np.ndarray:
    """Negative log-likelihood `[n]` of each pixel, in nats, p clamped to [eps, 1 - eps]."""
    p = np.clip(p, eps, 1 - eps)
    return -np.where(truth, np.log(p), np.log1p(-p))


def pixel_ece(probability: ArrayLike, truth: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the foreground probability over the pixels `[*space]` of one map.

    NaN where the map holds a NaN.

    Args:
        probability: foreground probability `[*space]` in [0, 1].
        truth: mask `[*space]`, bool or integer.
        bins: number of bins of equal width, at least 1.

    Returns:
        The error in [0, 1].

    Raises:
        ValueError: shapes differ, or a value is no probability.
    """
    p, t = pixels(probability, truth)
    return expected_calibration_error(p, t, bins) if np.isfinite(p).all() else float("nan")


def brier(probability: ArrayLike, truth: ArrayLike) -> float:
    """Mean (p - truth)² over the pixels, in [0, 1]; NaN where the map holds one. Brier 1950.

    Args:
        probability: foreground probability `[*space]` in [0, 1].
        truth: mask `[*space]`, bool or integer.

    Returns:
        The score, 0 is best.

    Raises:
        ValueError: shapes differ, or a value is no probability.

    Examples:
        >>> brier(np.array([1.0, 0.5]), np.array([True, False]))
        0.125
    """
    p, t = pixels(probability, truth)
    return float(np.mean((p - t) ** 2)) if np.isfinite(p).all() else float("nan")


def nll(probability: ArrayLike, truth: ArrayLike, eps: float = EPS) -> float:
    """Mean negative log-likelihood over the pixels, in nats; p is clamped to [eps, 1 - eps], so at most 16.1.

    NaN where the map holds one.

    Args:
        probability: foreground probability `[*space]` in [0, 1].
        truth: mask `[*space]`, bool or integer.
        eps: how far p is kept from 0 and 1 in the logarithm.

    Returns:
        nats a pixel, 0 is best.

    Raises:
        ValueError: shapes differ, or a value is no probability.

    Examples:
        >>> round(nll(np.array([0.5, 0.5]), np.array([True, False])), 6)
        0.693147
    """
    p, t = pixels(probability, truth)
    return float(log_loss(p, t, eps).mean()) if np.isfinite(p).all() else float("nan")
