"""Boxes `xyxy` in pixels of the original image; x1, y1 are far edges: a one-pixel mask has a 1 x 1 box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]


def tight_box(mask: np.ndarray) -> Box:
    """The smallest box around a bool mask `[h, w]`. Raises ValueError where the mask is empty.

    Examples:
        >>> mask = np.zeros((4, 6), bool); mask[1:3, 2:5] = True
        >>> tight_box(mask)
        (2.0, 1.0, 5.0, 3.0)
    """
    rows = np.flatnonzero(mask.any(axis=1))
    cols = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("an empty mask has no box")
    return float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1)


def clip_box(box: Sequence[float], size: tuple[int, int]) -> Box:
    """The box inside an image of `size` (h, w), sides in order and at least one pixel long.

    Examples:
        >>> clip_box((-5, 2, 4, 2.2), (10, 10))
        (0.0, 2.0, 4.0, 3.0)
    """
    x0, x1 = _clip_side(box[0], box[2], size[1])
    y0, y1 = _clip_side(box[1], box[3], size[0])
    return x0, y0, x1, y1


def margin_box(box: Sequence[float], margin: float, size: tuple[int, int]) -> Box:
    """The box grown on each side by `margin` (may be negative) of its width or height, clipped to the image.

    Examples:
        >>> margin_box((10, 10, 20, 30), 0.1, (100, 100))
        (9.0, 8.0, 21.0, 32.0)
    """
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    return clip_box((x0 - dx, y0 - dy, x1 + dx, y1 + dy), size)


def _clip_side(a: float, b: float, length: int) -> tuple[float, float]:
    low, high = sorted((min(max(float(a), 0.0), length), min(max(float(b), 0.0), length)))
    if high - low < 1:
        low = min(max(low, 0.0), length - 1.0)
        high = low + 1
    return float(low), float(high)
