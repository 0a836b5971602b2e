"""Overlap of two masks on any space (`[h, w]`, `[d, h, w]`), by counting pixels. Numpy arrays or CPU tensors.

A ratio without a denominator asks whether the other kind of error happened: 1 if both masks agree, else 0.
So Dice and IoU of two empty masks are 1, of an empty and a non-empty one 0; precision of an empty
prediction is 1 if the truth is empty too, else 0; recall of an empty truth is 1 if the prediction is empty
too, else 0; specificity (recall of the background) of a full truth is 1 if the prediction is full too, else
0. A volume slice by slice: a good Dice of the volume can hide a slice that is wholly wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_AT_ONCE = 2**22  # pixels: counts below 2^24 are exact in float32


def as_mask(mask: ArrayLike) -> np.ndarray:
    """The mask as bool. Integers count as True where not 0; a float mask is a ValueError (threshold it).

    Args:
        mask: an array `[*space]` or a CPU tensor.

    Returns:
        bool `[*space]`, without a copy where it is bool already.

    Raises:
        ValueError: it holds floats, or no pixels.
    """
    array = np.asarray(mask)
    if array.dtype.kind not in "bui":
        raise ValueError(f"a mask must be bool or integer, not {array.dtype}: threshold it first")
    if array.size == 0:
        raise ValueError(f"a mask must have pixels, this one has the shape {array.shape}")
    return array.astype(bool, copy=False)


def confusion(prediction: ArrayLike, truth: ArrayLike) -> tuple[int, int, int, int]:
    """Pixels that are (true positive, false positive, false negative, true negative).

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The four counts.

    Raises:
        ValueError: shapes differ, or a mask holds floats.

    Examples:
        >>> confusion(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool))
        (1, 1, 1, 1)
    """
    p, t = as_mask(prediction), as_mask(truth)
    if p.shape != t.shape:
        raise ValueError(f"the masks differ in shape: {p.shape} and {t.shape}")
    both, positive, true = (int(np.count_nonzero(mask)) for mask in (p & t, p, t))
    return both, positive - both, true - both, p.size - positive - true + both


def _ratio(hits: int, misses: int, other_errors: int = 0) -> float:
    """hits / (hits + misses); without a denominator 1 if there is no other error, else 0."""
    return hits / (hits + misses) if hits + misses else float(other_errors == 0)


def dice(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Dice, 2|P and T| / (|P| + |T|), in [0, 1]; 1 for two empty masks.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The Dice.

    Raises:
        ValueError: shapes differ, or a mask holds floats.

    Examples:
        >>> dice(np.array([1, 1, 0], bool), np.array([0, 1, 0], bool))
        0.6666666666666666
    """
    tp, fp, fn, _ = confusion(prediction, truth)
    return _ratio(2 * tp, fp + fn)


def iou(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Intersection over union (Jaccard), in [0, 1]; 1 for two empty masks. It equals dice / (2 - dice).

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The IoU.

    Raises:
        ValueError: shapes differ, or a mask holds floats.
    """
    tp, fp, fn, _ = confusion(prediction, truth)
    return _ratio(tp, fp + fn)


def threshold_iou(iou: ArrayLike, threshold: float = 0.65) -> np.ndarray:
    """The score of ISIC 2018's Task 1, float64 `[n]`: the IoU where it reaches the threshold, else 0; NaN stays.

    Args:
        iou: IoU `[n]` in [0, 1].
        threshold: the least IoU that counts.

    Returns:
        float64 `[n]`.

    Examples:
        >>> threshold_iou([0.9, 0.65, 0.6]).tolist()
        [0.9, 0.65, 0.0]
    """
    values = np.asarray(iou, dtype=np.float64)
    return np.where(values < threshold, 0.0, values)


def precision(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of the predicted pixels that are true; of an empty prediction 1 if the truth is empty, else 0.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The share in [0, 1].

    Raises:
        ValueError: shapes differ, or a mask holds floats.
    """
    tp, fp, fn, _ = confusion(prediction, truth)
    return _ratio(tp, fp, fn)


def recall(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of the true pixels that are predicted; of an empty truth 1 if the prediction is empty, else 0.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The share in [0, 1].

    Raises:
        ValueError: shapes differ, or a mask holds floats.
    """
    tp, fp, fn, _ = confusion(prediction, truth)
    return _ratio(tp, fn, fp)


def specificity(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of the true background that is left out; of a full truth 1 if the prediction is full, else 0.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The share in [0, 1].

    Raises:
        ValueError: shapes differ, or a mask holds floats.
    """
    _, fp, fn, tn = confusion(prediction, truth)
    return _ratio(tn, fp, fn)


def accuracy(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Share of the pixels that are labelled right.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The share in [0, 1].

    Raises:
        ValueError: shapes differ, or a mask holds floats.
    """
    tp, fp, fn, tn = confusion(prediction, truth)
    return (tp + tn) / (tp + fp + fn + tn)


def soft_dice(probability: ArrayLike, mask: ArrayLike) -> float:
    """2 sum(p M) / (sum p + sum M) of a map in [0, 1] and a mask of the same shape, summed in float64.

    1 where both are zero everywhere; NaN in the map gives NaN.

    Args:
        probability: map `[*space]` in [0, 1].
        mask: mask of the same shape.

    Returns:
        The soft Dice in [0, 1].

    Raises:
        ValueError: shapes differ, or the mask holds floats.

    Examples:
        >>> soft_dice(np.array([1.0, 0.5, 0.0]), np.array([True, True, False]))
        0.8571428571428571
    """
    p, m = np.asarray(probability), as_mask(mask)
    if p.shape != m.shape:
        raise ValueError(f"probability and mask differ in shape: {p.shape} and {m.shape}")
    total = float(p.sum(dtype=np.float64)) + int(np.count_nonzero(m))
    return 2 * float(p[m].sum(dtype=np.float64)) / total if total else 1.0


def pairwise_dice(masks: ArrayLike) -> float:
    """Mean Dice over the unordered pairs of different samples of bool `[s, *space]`, in [0, 1].

    A pair of empty masks counts 1. NaN for one sample: there is no pair.

    Args:
        masks: samples bool `[s, *space]`.

    Returns:
        The mean.

    Raises:
        ValueError: the masks hold floats.

    Examples:
        >>> pairwise_dice(np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0]], bool))  # (1 + 2/3 + 2/3) / 3
        0.7777777777777777
    """
    m = as_mask(masks)
    flat = m.reshape(len(m), -1)
    if len(flat) < 2:
        return float("nan")
    common = np.zeros((len(flat), len(flat)))
    for start in range(0, flat.shape[1], _AT_ONCE):  # a volume's samples as floats would not fit into memory
        part = flat[:, start : start + _AT_ONCE].astype(np.float32)
        common += part @ part.T  # exact: whole numbers
    areas = common.diagonal()
    i, j = np.triu_indices(len(flat), k=1)
    total = areas[i] + areas[j]
    return float(np.where(total > 0, 2 * common[i, j] / np.maximum(total, 1), 1.0).mean())


def slice_dice(prediction: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """Dice of each slice of two masks `[d, *space]`, float64 `[d]`; NaN where both are empty, as nothing is there.

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The Dice of each slice in [0, 1], or NaN.

    Raises:
        ValueError: shapes differ, or a mask holds floats.

    Examples:
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

    Args:
        prediction: mask `[*space]`, bool or integer.
        truth: mask of the same shape.

    Returns:
        The Dice in [0, 1] and the slice's number from 0.

    Raises:
        ValueError: shapes differ, or a mask holds floats.

    Examples:
        >>> worst_slice(np.array([[1, 1], [1, 0], [0, 0]], bool), np.array([[1, 1], [0, 1], [0, 0]], bool))
        (0.0, 1)
    """
    values = slice_dice(prediction, truth)
    if np.isnan(values).all():
        return 1.0, -1
    index = int(np.nanargmin(values))
    return float(values[index]), index
