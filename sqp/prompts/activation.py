"""A heatmap -> box and points: Algorithm 1 of "Classification-to-Segmentation: Class Activation Mapping for Zero-Shot
Skin Lesion Segmentation", line by line, and two options that it does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sqp.core.boxes import Box, tight_box

ENOUGH = 4  # active pixels that make a box (line 9)
EPSILON = 1e-8  # added to the amplified heatmap (line 12)


@dataclass(frozen=True)
class Activation:
    """Box `xyxy` and points `xy` `[n, 2]` with labels, in cells of the heatmap; (0, 0) is a corner.

    `sampled`: too few pixels were active, so the box is that of sampled ones. `flat`: the heatmap is constant, and
    says nothing.
    """

    box: Box
    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    sampled: bool
    flat: bool


def activation_prompt(
    heatmap: np.ndarray,
    generator: np.random.Generator,
    percentile: float,
    num_points: int,
    amplification: float,
    clean_up: float = 0.0,
    negatives: int = 0,
) -> Activation:
    """Lines 7 to 20 for a heatmap `[h, w]` in 0-1.

    Points are drawn with replacement, as numpy's `choice` does.

    Args:
        heatmap: `[h, w]` in 0-1.
        generator: what draws points.
        percentile: percentile of the heatmap from which a cell is active, 0 to 100.
        num_points: how many points are drawn.
        amplification: exponent by which high cells are drawn more often.
        clean_up: components smaller than this share of the largest one are dropped; 0 keeps all.
        negatives: points of label 0, drawn where the heatmap is low.

    Returns:
        Box and points in cells.
    """
    mask = threshold_mask(heatmap, percentile)  # line 7
    if clean_up:
        mask = without_small(mask, clean_up)
    sampled = int(mask.sum()) < ENOUGH
    if sampled:
        mask = np.zeros_like(mask)
        drawn = _draw(heatmap, num_points, amplification, generator)  # lines 12 to 16
        mask[drawn[:, 1], drawn[:, 0]] = True
    cells = _draw(heatmap, num_points, amplification, generator)  # line 19
    away = _draw(1 - heatmap, negatives, amplification, generator)
    points = tuple((float(x) + 0.5, float(y) + 0.5) for x, y in np.concatenate([cells, away]))
    labels = (1,) * num_points + (0,) * negatives
    return Activation(tight_box(mask), points, labels, sampled, bool(np.ptp(heatmap) == 0))


def threshold_mask(heatmap: np.ndarray, percentile: float) -> np.ndarray:
    """The paper's noisy mask, bool `[h, w]`: the heatmap at or above its own percentile.

    Args:
        heatmap: `[h, w]` in 0-1.
        percentile: 0 to 100.

    Returns:
        The mask.

    Examples:
        >>> threshold_mask(np.array([[0.0, 0.2], [0.6, 1.0]]), 50).tolist()
        [[False, False], [True, True]]
    """
    return heatmap >= np.percentile(heatmap, percentile)


def without_small(mask: np.ndarray, share: float) -> np.ndarray:
    """Without the components that are smaller than `share` of the largest one.

    Args:
        mask: bool `[h, w]`.
        share: 0 to 1.

    Returns:
        bool `[h, w]`.
    """
    labels, n = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    areas[0] = 0
    return (areas >= share * areas.max())[labels] & mask


def _draw(heatmap: np.ndarray, n: int, amplification: float, generator: np.random.Generator) -> np.ndarray:
    """n cells as int `[n, 2]` (x, y), each with a probability proportional to heatmap ^ amplification + epsilon."""
    weight = heatmap.astype(np.float64).ravel() ** amplification + EPSILON
    index = generator.choice(weight.size, n, p=weight / weight.sum())
    return np.stack([index % heatmap.shape[1], index // heatmap.shape[1]], axis=1)
