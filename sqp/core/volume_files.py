"""Masks of volumes in a record set: NIfTI with the affine, and in the orientation, of the case."""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sqp.core.files import write_atomic
from sqp.core.volume import Geometry

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
