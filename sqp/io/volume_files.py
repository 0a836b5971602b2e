"""Masks of volumes in a record set: NIfTI with the affine, and in the orientation, of the case."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from sqp.errors import CaseError
from sqp.io.atomic import write_atomic
from sqp.untrusted import check_regular
from sqp.volume import Geometry

SUFFIX = ".nii.gz"


def write_volume_mask(path: Path, mask: np.ndarray, geometry: Geometry) -> None:
    """bool `[d, h, w]` -> uint8 0 or 1 as the case's own file lies; the same bytes for the same mask."""
    import nibabel

    image = nibabel.Nifti1Image(geometry.to_file(mask.astype(np.uint8)), geometry.affine)
    content = gzip.compress(image.to_bytes(), compresslevel=3, mtime=0)
    write_atomic(path, lambda file: file.write(content))


def read_volume_mask(path: Path) -> tuple[np.ndarray, Geometry]:
    """bool `[d, h, w]` in the canonical orientation, and where it lies. OSError or ValueError for a broken file."""
    import nibabel

    try:
        image = nibabel.Nifti1Image.from_filename(check_regular(path, error=CaseError))
        array = np.asanyarray(image.dataobj)
    except nibabel.filebasedimages.ImageFileError as error:
        raise ValueError(str(error)) from error
    i, j, k = array.shape
    geometry = Geometry((i, j, k), np.asarray(image.affine, dtype=float))
    return geometry.to_canonical(array > 0), geometry
