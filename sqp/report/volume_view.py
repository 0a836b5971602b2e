"""A record of a volume as a reader sees it: slices from feet to head, each a `View`, and the one to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sqp.core.errors import CaseError
from sqp.data.volumes import read_structure, read_volume, windowed
from sqp.quality.model.channels import UNREADABLE
from sqp.records import RecordSet
from sqp.report.view import View, image_view, resized, stored_map

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Scan:
    """What is known of a record: image uint8 or None, mask and truth bool `[d, h, w]`, spacing (d, h, w) in mm or 1.

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

    @cached_property
    def key(self) -> int:
        """The slice to look at first: of those with a mask the one of most wrong voxels, or without truth of most."""
        areas = self.mask.sum(axis=(1, 2))
        if self.truth is not None:
            wrong = (self.mask ^ self.truth).sum(axis=(1, 2))
            areas = np.where(areas > 0, wrong, -1) + 1 if areas.any() else wrong
        return int(areas.argmax()) if areas.any() else len(self.mask) // 2

    def chosen(self, most: int) -> list[int]:
        """At most so many slices, evenly from one below to one above what mask and truth cover, with the key among."""
        anything = self.mask if self.truth is None else self.mask | self.truth
        there = np.flatnonzero(anything.any(axis=(1, 2)))
        low, high = (max(there[0] - 1, 0), min(there[-1] + 1, len(self.mask) - 1)) if len(there) else (0, self.key)
        even = np.linspace(low, high, min(most, high - low + 1)).round().astype(int)
        even[np.abs(even - self.key).argmin()] = self.key
        return sorted({int(z) for z in even})

    def size(self, side: int) -> Size:
        """(w, h) in pixels of a slice whose long side, in mm, is `side` pixels."""
        h, w = (n * mm for n, mm in zip(self.mask.shape[1:], self.spacing[1:], strict=True))
        return max(1, round(w * side / max(h, w))), max(1, round(h * side / max(h, w)))

    def slice(self, z: int, side: int) -> View:
        """Slice z of the volume as a picture."""
        size = self.size(side)
        image = None if self.image is None else resized(self.image[z], size)
        return View(
            image=None if image is None else np.repeat(image.round().astype(np.uint8)[..., None], 3, axis=2),
            mask=resized(self.mask[z], size) >= 0.5,
            truth=None if self.truth is None else resized(self.truth[z], size) >= 0.5,
            uncertainty=self._map(self.uncertainty, z, size, self.covered),
            measure=self.measure,
            top=self.top,
            readable=self.readable,
            error=self._map(self.error, z, size),
            place=f"slice {z + 1} of {len(self.mask)}",
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
    """`image_view` of one record; of a volume the slice to look at first (`Scan.key`)."""
    if not records.volumes:
        return image_view(records, row, side, error)
    scan = load_scan(records, row, error)
    return scan.slice(scan.key, side)


def load_scan(records: RecordSet, row: Mapping[str, Any], error: np.ndarray | None = None) -> Scan:
    """The scan of one record of a set of volumes; a lost file is told, not fatal. `error` as in `image_view`."""
    try:
        mask, readable = records.mask(row["record_id"]), True
    except UNREADABLE:
        mask, readable = np.zeros((1, int(row.get("height", 1)), int(row.get("width", 1))), bool), False
    try:
        image = windowed(read_volume(str(row.get("image_path"))).voxels)
    except CaseError:
        image = None
    measure, top, uncertainty, covered = stored_map(records, row["record_id"])
    d, h, w = list(row.get("spacing", ())) or (1.0, 1.0, 1.0)
    truth = _truth(records, row.get("truth_path"))
    return Scan(
        image=None if image is None or image.shape != mask.shape else image,
        mask=mask,
        truth=None if truth is None or truth.shape != mask.shape else truth,
        spacing=(float(d), float(h), float(w)),
        uncertainty=None if uncertainty is None else uncertainty / top,
        measure=measure,
        top=top,
        readable=readable,
        error=error,
        covered=covered,
    )


def _truth(records: RecordSet, paths: object) -> np.ndarray | None:
    """The first rater's structure; None where there is none, or its file is gone or broken."""
    if not isinstance(paths, Sequence | np.ndarray) or isinstance(paths, str) or not len(paths):
        return None
    try:
        return read_structure(str(paths[0]), records.labels)[0]
    except CaseError:
        return None
