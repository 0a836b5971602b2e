"""One prediction against several raters of the same image, after the CURVAS challenge (arXiv 2505.08685).

Consensus is where all raters say the same, dissensus the other pixels. Truths are masks `[raters, *space]`; empty
masks follow `overlap`. Areas are in pixels, or in the unit of `pixel_area` (mm²).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from sqp.metrics.calibration import expected_calibration_error, pixels
from sqp.metrics.nan_reasons import join
from sqp.metrics.overlap import as_mask, dice, pairwise_dice


def _raters(prediction: ArrayLike, truths: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    p, t = as_mask(prediction), as_mask(truths)
    if t.shape[1:] != p.shape:
        raise ValueError(f"truths must be [raters, *space] of the prediction's shape {p.shape}, not {t.shape}")
    return p, t


def consensus(truths: ArrayLike) -> np.ndarray:
    """bool `[*space]`: pixels on which all raters agree, be it foreground or background.

    Args:
        truths: masks `[r, *space]`, one a rater.

    Returns:
        The pixels of agreement.

    Raises:
        ValueError: the masks hold floats, or there is no rater.
    """
    t = as_mask(truths)
    return np.asarray(t.all(axis=0) | ~t.any(axis=0))


def consensus_dice(prediction: ArrayLike, truths: ArrayLike) -> float:
    """Dice over the pixels on which all raters agree, in [0, 1].

    Args:
        prediction: mask `[*space]`, bool or integer.
        truths: masks `[r, *space]`, one a rater.

    Returns:
        The Dice; 1 where nothing is foreground in either.

    Raises:
        ValueError: shapes differ.

    Examples:
        >>> truths = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
        >>> consensus_dice(np.array([1, 1, 1, 0], bool), truths)  # the second pixel does not count
        0.6666666666666666
    """
    p, t = _raters(prediction, truths)
    return dice(p & consensus(t), t.all(axis=0))


def dissensus_dice(prediction: ArrayLike, truths: ArrayLike) -> float:
    """Mean over the raters of the Dice over the pixels on which they do not agree; NaN where they agree on all.

    The raters contradict each other there, so 1 is out of reach: with two of them 0.5 is good.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truths: masks `[r, *space]`, one a rater.

    Returns:
        The mean in [0, 1].

    Raises:
        ValueError: shapes differ.

    Examples:
        >>> dissensus_dice(np.array([1, 1, 0], bool), np.array([[1, 1, 0], [1, 0, 0]], bool))  # (1 + 0) / 2
        0.5
    """
    p, t = _raters(prediction, truths)
    where = ~consensus(t)
    if not where.any():
        return float("nan")
    return float(np.mean([dice(p & where, rater & where) for rater in t]))


def consensus_confidence(probability: ArrayLike, truths: ArrayLike) -> float:
    """Mean of p over the agreed foreground and of 1 - p over the agreed background, half each, in [0, 1].

    NaN where one of the two is empty or the map holds a NaN.

    Args:
        probability: foreground probability `[*space]` in [0, 1].
        truths: masks `[r, *space]`, one a rater.

    Returns:
        The mean.

    Raises:
        ValueError: shapes differ, or a value is no probability.
    """
    t = as_mask(truths)
    p = pixels(probability, t[0])[0].reshape(t.shape[1:])
    inside, outside = p[t.all(axis=0)], p[~t.any(axis=0)]
    if not inside.size or not outside.size or not np.isfinite(p).all():
        return float("nan")
    return float((inside.mean() + 1 - outside.mean()) / 2)


def rater_ece(probability: ArrayLike, truths: ArrayLike, bins: int = 15) -> float:
    """ECE of the map against the share of raters that mark a pixel, in [0, 1]; NaN where the map holds a NaN.

    Args:
        probability: foreground probability `[*space]` in [0, 1].
        truths: masks `[r, *space]`, one a rater.
        bins: number of bins of equal width, at least 1.

    Returns:
        The error.

    Raises:
        ValueError: shapes differ, or a value is no probability.
    """
    t = as_mask(truths)
    p, _ = pixels(probability, t[0])
    return expected_calibration_error(p, t.mean(axis=0), bins) if np.isfinite(p).all() else float("nan")


def area_crps(area: float, areas: ArrayLike) -> float:
    """Continuous ranked probability score of a predicted area under the normal law of the raters' areas.

    In the unit of the areas, 0 is best; the law has their mean and population SD, and equal areas (or one) leave the
    absolute error. NaN where the area or all of theirs are not finite. Closed form: Gneiting & Raftery 2007. (The
    challenge's own code integrates over ± 3 SD only, which caps the score of a prediction far off.)

    Args:
        area: the predicted area, in any unit.
        areas: the raters' areas `[r]`, in the same unit.

    Returns:
        The score, at least 0.

    Examples:
        >>> area_crps(10, [12, 12])
        2.0
    """
    a = np.asarray(areas, dtype=np.float64).ravel()
    a = a[np.isfinite(a)]
    if not len(a) or not math.isfinite(area):
        return float("nan")
    mean, sd = float(a.mean()), float(a.std()) if np.ptp(a) else 0.0
    if sd == 0:
        return abs(area - mean)
    z = (area - mean) / sd
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return sd * (z * (2 * float(ndtr(z)) - 1) + 2 * density - 1 / math.sqrt(math.pi))


def rater_row(
    prediction: ArrayLike,
    truths: ArrayLike,
    probability: ArrayLike | None = None,
    bins: int = 15,
    pixel_area: float = 1.0,
) -> dict[str, float | str]:
    """Everything about one image with several raters; the note says what is NaN and why.

    n_raters, rater_dice (mean Dice of the raters with each other: their own disagreement), dice_mean and dice_sd (of
    the prediction with each rater, SD n - 1), consensus_dice, dissensus_dice, dissensus_share (of the pixels that a
    rater marks), area_crps (of Σp, without a map of the mask's area), ece, consensus_confidence.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truths: masks `[r, *space]`, one a rater.
        probability: foreground probability `[*space]`; without, area_crps is of the mask, ece and consensus_confidence
            are NaN.
        bins: number of bins of equal width, at least 1.
        pixel_area: area of a pixel (volume of a voxel), the unit of area_crps.

    Returns:
        name -> number, and `note`.

    Raises:
        ValueError: shapes differ, or a value is no probability.
    """
    p, t = _raters(prediction, truths)
    own = np.array([dice(p, rater) for rater in t])
    marked = int(t.any(axis=0).sum())
    missing = float("nan")
    soft = None if probability is None else pixels(probability, p)[0]
    area = float(p.sum() if soft is None else soft.sum())
    broken = soft is not None and not np.isfinite(soft).all()
    row: dict[str, float | str] = {
        "n_raters": len(t),
        "rater_dice": pairwise_dice(t),
        "dice_mean": float(own.mean()),
        "dice_sd": float(own.std(ddof=1)) if len(own) > 1 else missing,
        "consensus_dice": consensus_dice(p, t),
        "dissensus_dice": dissensus_dice(p, t),
        "dissensus_share": int((~consensus(t)).sum()) / marked if marked else missing,
        "area_crps": area_crps(area * pixel_area, t.reshape(len(t), -1).sum(axis=1) * pixel_area),
        "ece": missing if probability is None else rater_ece(probability, t, bins),
        "consensus_confidence": missing if probability is None else consensus_confidence(probability, t),
    }
    return row | {
        "note": join(
            "one rater: no disagreement" if len(t) == 1 else "",
            "the raters agree on every pixel: no dissensus" if len(t) > 1 and consensus(t).all() else "",
            "no rater marks a pixel: no share of dissensus" if not marked else "",
            "no probability map: no calibration" if soft is None else "",
            "the probability map holds a NaN: no calibration" if broken else "",
        )
    }
