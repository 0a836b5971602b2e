"""What tells a photograph, or a map of probabilities, from a mask: whole areas of it are neither dark nor bright."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion, maximum_filter, minimum_filter

EDGE = 0.1  # of the range: nearer to the least or the greatest value is dark or bright
MOST = 0.08  # of the pixels of a mask may lie amid others in between
LEAST_RANGE = 0.25  # of what the file can hold; below it is the noise of a compressed empty or full mask
EVEN = 0.01  # of the range: what one area of JPEG varies
SIDE = 256  # pixels that are looked at along the shorter side


def between(plane: np.ndarray, full: float) -> float:
    """One channel `[h, w]` in 0 to `full` -> share of pixels that, with all eight around them, are in between.

    In between is further than `EDGE` of the plane's own range from its least and its greatest value. The grey edges of
    a smoothed or a JPEG-compressed mask are thin, so hardly a pixel lies amid others: at most 0.011 in the ISIC 2018
    and HAM10000 masks at 64 to 512 pixels and quality 20 to 90; their photographs have 0.11 or more in some colour.

    >>> between(np.array([[0, 90, 255]] * 3), 255), between(np.arange(256).reshape(16, 16), 255) > MOST
    (0.0, True)
    """
    low, high = float(plane.min()), float(plane.max())
    if high - low < LEAST_RANGE * full:
        return 0.0
    step = max(1, min(plane.shape) // SIDE)
    margin = EDGE * (high - low)
    seen = plane[::step, ::step]
    inside = (seen > low + margin) & (seen < high - margin)
    return float(binary_erosion(inside, np.ones((3, 3), bool), border_value=1).mean())


def flat_between(plane: np.ndarray, full: float, edge: float = EDGE) -> float:
    """One channel `[h, w]` in 0 to `full` -> share of pixels in even areas in between.

    Even: no pixel of the 3 x 3 differs by more than `EVEN`. A third value has such areas, even after JPEG; edges that
    were smoothed have none.
    """
    low, high = float(plane.min()), float(plane.max())
    if high - low < LEAST_RANGE * full or min(plane.shape) < 3:
        return 0.0
    step = max(1, min(plane.shape) // (2 * SIDE))
    seen = plane[::step, ::step].astype(np.float32)
    even = maximum_filter(seen, 3) - minimum_filter(seen, 3) <= EVEN * (high - low)
    inside = (seen > low + edge * (high - low)) & (seen < high - edge * (high - low))
    return float((inside & even).mean())


THIRD = (0.2, 0.8)  # of the plane's range: where a third level is looked for
LEVEL = 12  # hundredths of the range that one level fills after JPEG
GATHERED, UNEVEN = 0.55, 0.15


def has_level_between(plane: np.ndarray, full: float) -> bool:
    """Whether the pixels of one channel `[h, w]` that are in between gather at a level, however few they are.

    True where more than `GATHERED` of them lie within `LEVEL` of each other, and some (at least three, and a
    hundredth) amid others that differ by at most `UNEVEN`. Of 4,780 two-level masks (ISIC 2018, HAM10000; 64 to 512
    pixels; sharp, smoothed and enlarged four times; JPEG of quality 20 to 95) none is so; of those with a grey ring of
    3 pixels or a grey core 96 % (quality 50) and 99 % (90) are. A ring of 1 pixel cannot be told from an edge.
    """
    low, high = float(plane.min(initial=0)), float(plane.max(initial=0))
    if high - low < LEAST_RANGE * full or min(plane.shape) < 3:
        return False
    step = max(1, min(plane.shape) // (4 * SIDE))
    seen = (plane[::step, ::step].astype(np.float32) - low) / (high - low)
    inside = (seen > THIRD[0]) & (seen < THIRD[1])
    counts, _ = np.histogram(seen[inside], round(100 * (THIRD[1] - THIRD[0])), THIRD)
    if np.convolve(counts, np.ones(LEVEL), "valid").max() <= GATHERED * counts.sum():
        return False
    even = maximum_filter(seen, 3) - minimum_filter(seen, 3) <= UNEVEN
    return int((inside & even).sum()) >= max(3, 0.01 * counts.sum())


GREY_RANGES = (255, 4095, 65535)  # 8 bits, 12 bits in a 16-bit file, 16 bits


def range_of(top: float) -> int | None:
    """The least range of a mask's values that holds `top`."""
    return next((r for r in (1, *GREY_RANGES) if top <= r), None)
