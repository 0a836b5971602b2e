"""A volume in three orthogonal views side by side, through one point, so that a figure can show it as one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sqp.records import RecordSet
from sqp.report.view import View
from sqp.report.volume_view import Scan, load_scan, load_view

SIDE = 400  # pixels of the long side of a picture, of one view of a volume
GAP = 6  # pixels between two views
Point = tuple[float, float, float]
Cut = Callable[[np.ndarray], np.ndarray]
"""A map of a record -> the plane that is drawn of it: itself for an image, three views for a volume."""


def cuts_of(records: RecordSet, row: Mapping[str, Any], leading: np.ndarray) -> tuple[View, Cut]:
    """The picture of a record, and how its maps become planes that fit it.

    A volume is cut through the highest voxel of the `leading` map, or where that is empty the middle of the mask.
    """
    if not records.volumes:
        return load_view(records, row, SIDE), lambda values: values
    scan = load_scan(records, row)
    views = ThreeViews(scan, point_of(leading, scan.mask))
    return views.view(), views


def point_of(values: np.ndarray, mask: np.ndarray) -> Point:
    """The highest voxel of a map `[d, h, w]`, as shares of the sides; of an empty one the middle of the mask's voxels.

    >>> values = np.zeros((2, 4, 4))
    >>> values[1, 0, 3] = 1
    >>> point_of(values, values > 0)
    (0.75, 0.125, 0.875)
    """
    at, shape = np.array([(n - 1) / 2 for n in mask.shape]), mask.shape
    if values.max() > values.min():
        at, shape = np.array(np.unravel_index(values.argmax(), values.shape), float), values.shape
    elif mask.any():
        at = np.argwhere(mask).mean(axis=0)
    d, h, w = ((at + 0.5) / shape).tolist()
    return d, h, w


@dataclass(frozen=True, eq=False)
class ThreeViews:
    """`views(values)`: the planes of `[d', h', w']` through `point` (shares of the sides): axial, coronal, sagittal.

    In mm, so that they fit each other; the head is up, the axial view is seen from the feet, as radiologists do.
    """

    scan: Scan
    point: Point

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """`[height, width]` of values' own type; whole numbers are repeated, others bilinear."""
        z, y, x = (min(n - 1, int(share * n)) for n, share in zip(values.shape, self.point, strict=True))
        planes = values[z], values[::-1, y], values[::-1, :, x]
        whole = values.dtype == np.uint8
        out = np.zeros(self.size, np.uint8 if whole else np.float32)
        left = 0
        for plane, (width, height) in zip(planes, self._sizes, strict=True):
            filt = Image.Resampling.NEAREST if whole else Image.Resampling.BILINEAR
            picture = Image.fromarray(np.ascontiguousarray(plane, dtype=out.dtype)).resize((width, height), filt)
            out[:height, left : left + width] = np.asarray(picture)
            left += width + GAP
        return out

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the three together."""
        return max(h for _, h in self._sizes), sum(w for w, _ in self._sizes) + 2 * GAP

    @property
    def _sizes(self) -> list[tuple[int, int]]:
        """(width, height) in pixels of each view; the longest side of the volume has `SIDE`."""
        mm = [n * step for n, step in zip(self.scan.mask.shape, self.scan.spacing, strict=True)]
        d, h, w = (max(1, round(side * SIDE / max(mm))) for side in mm)
        return [(w, h), (w, d), (h, d)]

    def view(self) -> View:
        """Image with mask and truth; there are no maps in it."""
        scan = self.scan
        grey = None if scan.image is None else self(scan.image.astype(np.float32)).round().astype(np.uint8)
        image = None if grey is None else np.repeat(grey[..., None], 3, axis=2)
        truth = None if scan.truth is None else self(scan.truth.astype(np.float32)) >= 0.5
        mask = self(scan.mask.astype(np.float32)) >= 0.5
        return View(image, mask, truth, None, scan.measure, scan.top, scan.readable, elsewhere=bool(scan.mask.any()))
