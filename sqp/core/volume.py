"""A volume and how it lies in the patient: one canonical orientation, millimetres, and the way back to its file.

Volumes are `[d, h, w]`: d runs from the feet to the head, h from the front to the back, w from the patient's right to
the left (each the nearest axis of the file), so that a slice `[h, w]` is shown as radiologists see it. Turning and
flipping the axes of an array costs no interpolation and is undone exactly. Masks of a record set are NIfTI with the
affine, and in the orientation, of the case.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.files import write_atomic

AXES = ("S", "P", "L")  # nibabel's letters for the ends of d, h and w
TOLERANCE = 0.1  # voxels: what rounding in a header's quaternion moves the far corner of a large volume


@dataclass(frozen=True, eq=False)
class Geometry:
    """`shape` of the file's array, and its `affine` `[4, 4]`: voxel indices -> millimetres, RAS (NIfTI's own).

    ValueError for an affine that is singular or not finite.

    Examples:
        >>> told = Geometry((40, 30, 20), np.diag([0.5, 0.5, 3.0, 1.0]))
        >>> told.canonical_shape, told.spacing
        ((20, 30, 40), (3.0, 0.5, 0.5))
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        if not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise ValueError("its affine is singular or not finite")

    @classmethod
    def plain(cls, shape: tuple[int, ...], spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Geometry:
        """That of an array `[d, h, w]` which lies as it is, with `spacing` (d, h, w) in mm."""
        d, h, w = (float(side) for side in spacing)
        affine = np.array([[0, 0, -w, 0], [0, -h, 0, 0], [d, 0, 0, 0], [0, 0, 0, 1.0]])
        return cls((shape[0], shape[1], shape[2]), affine)

    @cached_property
    def _to_canonical(self) -> np.ndarray:
        """nibabel's orientation transform from the file's axes to `AXES`."""
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        return ornt_transform(io_orientation(self.affine), axcodes2ornt(AXES))

    @cached_property
    def canonical_affine(self) -> np.ndarray:
        """`[4, 4]`: indices (d, h, w) -> millimetres, RAS."""
        from nibabel.orientations import inv_ornt_aff

        return self.affine @ inv_ornt_aff(self._to_canonical, self.shape)

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """(d, h, w)."""
        sides = np.empty(3, int)
        sides[self._to_canonical[:, 0].astype(int)] = self.shape
        d, h, w = sides.tolist()
        return d, h, w

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between neighbours along d, h and w."""
        d, h, w = np.sqrt((self.canonical_affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return d, h, w

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """The file's array -> `[d, h, w]`."""
        from nibabel.orientations import apply_orientation

        return np.ascontiguousarray(apply_orientation(array, self._to_canonical))

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """`[d, h, w]` -> as the file has it; the exact inverse of `to_canonical`."""
        from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

        back = ornt_transform(axcodes2ornt(AXES), io_orientation(self.affine))
        return np.ascontiguousarray(apply_orientation(array, back))

    def difference(self, other: Geometry) -> float:
        """How far the corners of two volumes lie apart, in voxels of this one; infinite where the shapes differ."""
        if self.canonical_shape != other.canonical_shape:
            return float("inf")
        corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(self.canonical_shape) - 1)
        ends = np.c_[corners, np.ones(8)].T
        apart = (self.canonical_affine - other.canonical_affine) @ ends
        return float(np.abs(np.linalg.inv(self.canonical_affine[:3, :3]) @ apart[:3]).max())

    def laid(self, mask: np.ndarray, other: Geometry) -> np.ndarray:
        """A mask of another grid, bool `[d, h, w]`, whose voxels are some of this one's -> bool of this shape.

        What reaches out of this one must be empty. ValueError where it is not, and for voxels that lie between these.
        """
        way = np.linalg.inv(self.canonical_affine) @ other.canonical_affine
        start = np.round(way[:3, 3]).astype(int)
        ends = np.abs((way[:3, :3] - np.eye(3)) @ np.diag(mask.shape)).max()
        if max(ends, np.abs(way[:3, 3] - start).max()) > TOLERANCE:
            raise ValueError("its voxels are not those of its image: resample it to the image")
        found = np.argwhere(mask) + start
        if len(found) and (found.min() < 0 or (found.max(axis=0) >= self.canonical_shape).any()):
            raise ValueError("it reaches out of its image: is it of another one?")
        laid = np.zeros(self.canonical_shape, bool)
        laid[tuple(found.T)] = True
        return laid


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels float32 `[d, h, w]` in the image's own units, and where they lie."""

    voxels: np.ndarray
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, int, int]:
        """(d, h, w)."""
        d, h, w = self.voxels.shape
        return d, h, w

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(d, h, w) in mm."""
        return self.geometry.spacing

    def with_voxels(self, voxels: np.ndarray) -> Volume:
        """Other voxels `[d, h, w]` in the same place."""
        return replace(self, voxels=np.ascontiguousarray(voxels, dtype=np.float32))


SUFFIX = ".nii.gz"
MOST_PACKED = 1032  # bytes that deflate makes of one at most


def unreadable() -> tuple[type[Exception], ...]:
    """What nibabel raises for a file that is cut off, damaged or no NIfTI."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    return OSError, EOFError, ValueError, TypeError, OverflowError, zlib.error, ImageFileError, HeaderDataError


@contextmanager
def quiet_nibabel() -> Iterator[None]:
    """Without what nibabel logs of a damaged header beside the error that it raises."""
    from nibabel import imageglobals

    level = imageglobals.logger.level
    imageglobals.logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        imageglobals.logger.setLevel(level)


def most_bytes(path: Path) -> int:
    """The most that a file, packed or not, can hold."""
    return path.stat().st_size * (MOST_PACKED if path.suffix.lower() == ".gz" else 1)


def voxels_of(voxels: Any, most: int) -> np.ndarray:
    """The voxels of an opened NIfTI file. ValueError where its header claims more than that file's `most` bytes."""
    need = math.prod(map(int, voxels.shape)) * voxels.dtype.itemsize
    if need > most:
        raise ValueError(f"its header claims {need:,} bytes of voxels, which a file of its size cannot hold")
    return np.asanyarray(voxels)


def write_volume_mask(path: Path, mask: np.ndarray, geometry: Geometry) -> None:
    """bool `[d, h, w]` -> uint8 0 or 1 as the case's own file lies; the same bytes for the same mask."""
    import nibabel

    image = nibabel.Nifti1Image(geometry.to_file(mask.astype(np.uint8)), geometry.affine)
    content = gzip.compress(image.to_bytes(), compresslevel=3, mtime=0)
    write_atomic(path, lambda file: file.write(content))


def read_volume_mask(content: bytes) -> tuple[np.ndarray, Geometry]:
    """What `write_volume_mask` wrote -> bool `[d, h, w]` in the canonical orientation, and where it lies.

    OSError or ValueError for a broken file.
    """
    import nibabel

    try:
        unpacked = gzip.decompress(content)
        with quiet_nibabel():
            image = nibabel.Nifti1Image.from_bytes(unpacked)
        array = voxels_of(image.dataobj, len(unpacked))
    except unreadable() as error:
        raise ValueError(str(error) or type(error).__name__) from error
    i, j, k = array.shape
    geometry = Geometry((i, j, k), np.asarray(image.affine, dtype=float))
    return geometry.to_canonical(array > 0), geometry
