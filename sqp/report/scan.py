"""A record as a reader sees it, image or volume: slices, each a `View`, the one to look at first, and three planes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from sqp.core.errors import CaseError
from sqp.core.untrusted import open_image
from sqp.data.images import read_image
from sqp.data.masks import read_mask
from sqp.data.volumes import read_structure, read_volume, windowed
from sqp.quality.model.channels import UNREADABLE
from sqp.records import RecordSet
from sqp.report.view import View, resized, shown_map, stored_map

Size = tuple[int, int]
SIDE = 400  # pixels of the long side of a picture, of one view of a volume
GAP = 6  # pixels between two views
Point = tuple[float, float, float]
Cut = Callable[[np.ndarray], np.ndarray]
"""A map of a record -> the plane that is drawn of it: itself for an image, three views for a volume."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What is known of a record: image uint8 or None, mask and truth bool `[d, h, w]`, spacing (d, h, w) in mm or 1.

    An image is one slice (`flat`), its picture `[1, h', w', 3]` of any size, its spacing 1.
    `uncertainty` and `error` in 0-1 on grids of their own, None where there is none; `measure` and `top` as in `View`.
    Of the slices of `uncertainty` the image takes the `covered` (rows, columns), of those of `error` all.
    """

    image: np.ndarray | None
    mask: np.ndarray
    truth: np.ndarray | None
    spacing: tuple[float, float, float]
    uncertainty: np.ndarray | None
    measure: str
    top: float
    readable: bool
    error: np.ndarray | None = None
    covered: tuple[float, float] | None = None
    flat: bool = False

    @cached_property
    def key(self) -> int:
        """The slice to look at first: of those with a mask the one of most wrong voxels, or without truth of most."""
        if len(self.mask) == 1:
            return 0
        areas = self.mask.sum(axis=(1, 2))
        if self.truth is not None:
            wrong = (self.mask ^ self.truth).sum(axis=(1, 2))
            areas = np.where(areas > 0, wrong, -1) + 1 if areas.any() else wrong
        return int(areas.argmax()) if areas.any() else len(self.mask) // 2

    def chosen(self, most: int) -> list[int]:
        """At most so many slices, evenly from one below to one above what mask and truth cover, with the key among."""
        if len(self.mask) == 1:
            return [0]
        anything = self.mask if self.truth is None else self.mask | self.truth
        there = np.flatnonzero(anything.any(axis=(1, 2)))
        low, high = (max(there[0] - 1, 0), min(there[-1] + 1, len(self.mask) - 1)) if len(there) else (0, self.key)
        even = np.linspace(low, high, min(most, high - low + 1)).round().astype(int)
        even[np.abs(even - self.key).argmin()] = self.key
        return sorted({int(z) for z in even})

    def size(self, side: int) -> Size:
        """(w, h) in pixels of a slice whose long side, in mm, is `side` pixels."""
        h, w = (n * mm for n, mm in zip(self.mask.shape[1:], self.spacing[1:], strict=True))
        return _fitted((w, h), side)

    def slice(self, z: int, side: int) -> View:
        """Slice z as a picture."""
        size = self.size(side)
        return View(
            image=None if self.image is None else _coloured(self.image[z], size),
            mask=resized(self.mask[z], size) >= 0.5,
            truth=None if self.truth is None else resized(self.truth[z], size) >= 0.5,
            uncertainty=self._map(self.uncertainty, z, size, self.covered),
            measure=self.measure,
            top=self.top,
            readable=self.readable,
            error=self._map(self.error, z, size),
            place="" if self.flat else f"slice {z + 1} of {len(self.mask)}",
            elsewhere=bool(self.mask.any()),
        )

    def _map(
        self, values: np.ndarray | None, z: int, size: Size, covered: tuple[float, float] | None = None
    ) -> np.ndarray | None:
        """A map `[d', h', w']` at slice z, in 0-1."""
        if values is None:
            return None
        at = min(len(values) - 1, int((z + 0.5) * len(values) / len(self.mask)))
        return np.clip(resized(values[at], size, covered), 0, 1)


def load_view(records: RecordSet, row: Mapping[str, Any], side: int, error: np.ndarray | None = None) -> View:
    """The picture of one record, scaled, up or down, to a long side of `side` pixels; of a volume slice `Scan.key`.

    `error` is its error map over the squashed frame (`quality.error_maps`).
    """
    scan = load_scan(records, row, error, side)
    return scan.slice(scan.key, side)


def view_of(
    image: np.ndarray,
    mask: np.ndarray,
    maps: Mapping[str, np.ndarray],
    covered: Mapping[str, tuple[float, float]],
    side: int,
) -> View:
    """The picture of an image and a mask in memory, with the first measure among its maps and its error map."""
    measure, top, uncertainty, over = shown_map(lambda key: (maps[key].astype(np.float32), covered.get(key)))
    error = maps.get("error")
    scan = Scan(
        image=image[None],
        mask=mask[None],
        truth=None,
        spacing=(1.0, 1.0, 1.0),
        uncertainty=None if uncertainty is None else uncertainty[None] / top,
        measure=measure,
        top=top,
        readable=True,
        error=None if error is None else error[None],
        covered=over,
        flat=True,
    )
    return scan.slice(scan.key, side)


def load_scan(records: RecordSet, row: Mapping[str, Any], error: np.ndarray | None = None, side: int = SIDE) -> Scan:
    """The scan of one record; a lost file is left out, not fatal. `error` as in `load_view`.

    Of an image nothing finer than `side` pixels on the long side is promised: a JPEG is decoded that small.
    """
    flat = not records.volumes
    try:
        mask, readable = records.mask(row["record_id"]), True
    except UNREADABLE:
        shape = int(row.get("height", side if flat else 1)), int(row.get("width", side if flat else 1))
        mask, readable = np.zeros(shape if flat else (1, *shape), bool), False
    image = _picture(row.get("image_path"), side) if flat else _voxels(row.get("image_path"), mask.shape)
    truth = _truth(records, row.get("truth_path"))
    if truth is not None and not flat and truth.shape != mask.shape:
        truth = None
    measure, top, uncertainty, covered = stored_map(records, row["record_id"])
    d, h, w = (() if flat else list(row.get("spacing", ()))) or (1.0, 1.0, 1.0)
    planes = [None if a is None else a[None] if flat else a for a in (image, mask, truth, uncertainty, error)]
    image, mask, truth, uncertainty, error = planes  # type: ignore[assignment]
    return Scan(
        image=image,
        mask=mask,
        truth=truth,
        spacing=(float(d), float(h), float(w)),
        uncertainty=None if uncertainty is None else uncertainty / top,
        measure=measure,
        top=top,
        readable=readable,
        error=error,
        covered=covered,
        flat=flat,
    )


def _picture(path: object, side: int) -> np.ndarray | None:
    """uint8 `[h, w, 3]`, upright, at least `side` pixels long where the file is; None where it is gone or broken."""
    try:
        if isinstance(path, str) and Path(path).suffix.lower() in (".jpg", ".jpeg"):
            with open_image(path) as image:
                image.draft("RGB", _fitted(image.size, side))  # decoded at a fraction of its size: far faster
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        return read_image(str(path))
    except (CaseError, OSError):
        return None


def _fitted(size: tuple[float, float], side: int) -> Size:
    """(w, h) scaled to a long side of `side` pixels."""
    w, h = size
    return max(1, round(w * side / max(w, h))), max(1, round(h * side / max(w, h)))


def _voxels(path: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """uint8 `[d, h, w]`, windowed; None where the file is gone, broken or of another shape than the mask."""
    try:
        image = windowed(read_volume(str(path)).voxels)
    except CaseError:
        return None
    return image if image.shape == shape else None


def _truth(records: RecordSet, paths: object) -> np.ndarray | None:
    """bool `[*space]`: the first rater's; None where there is none, or its file is gone or broken."""
    if not isinstance(paths, Sequence | np.ndarray) or isinstance(paths, str) or not len(paths):
        return None
    path, labels = str(paths[0]), records.labels
    try:
        return read_structure(path, labels)[0] if records.volumes else read_mask(path, labels)
    except CaseError:
        return None


def _coloured(plane: np.ndarray, size: Size) -> np.ndarray:
    """uint8 `[h, w, 3]` of a plane, grey `[h', w']` or in colours `[h', w', 3]`."""
    if plane.ndim == 3:
        return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
    return np.repeat(resized(plane, size).round().astype(np.uint8)[..., None], 3, axis=2)


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

    Examples:
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
