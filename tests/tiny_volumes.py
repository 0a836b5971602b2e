"""Small volumes with a bright ellipsoid off the middle, written as NIfTI in any orientation."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from sqp.core.volume import AXES, Geometry

SHAPE, SPACING = (10, 14, 12), (3.0, 1.0, 0.75)
ORIENTATIONS = ("SPL", "RAS", "LPS", "AIR", "PSR")


def ellipsoid(shape=SHAPE, centre=(0.45, 0.55, 0.4), radius=0.28):
    """bool `[d, h, w]`; centre and radius as shares of the sides. No symmetry that could hide a wrong turn."""
    grid = [(np.arange(n) + 0.5) / n - c for n, c in zip(shape, centre, strict=True)]
    z, y, x = np.meshgrid(*grid, indexing="ij")
    return (z / 0.9) ** 2 + y**2 + (x / 1.2) ** 2 < radius**2


def bright(mask, seed=0):
    """float32 voxels: 100 inside, 20 outside, with noise."""
    return (np.where(mask, 100, 20) + np.random.default_rng(seed).normal(0, 5, mask.shape)).astype(np.float32)


def write_nifti(path: Path, array: np.ndarray, spacing=SPACING, orientation="RAS", offset=(5.0, -7.0, 11.0)) -> Path:
    """`[d, h, w]` in a file whose axes run as `orientation` says; the voxels lie at the same place in all of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = Geometry.plain(array.shape, spacing).affine.copy()
    affine[:3, 3] = offset
    turn = ornt_transform(axcodes2ornt(AXES), axcodes2ornt(tuple(orientation)))
    stored = array.astype(np.uint8) if array.dtype == bool else array
    turned = np.ascontiguousarray(apply_orientation(stored, turn))
    nib.save(nib.Nifti1Image(turned, affine @ inv_ornt_aff(turn, array.shape)), path)
    return path


def write_data(folder: Path, n: int, orientation="RAS", spacing=SPACING, images="images", truth="labels") -> Path:
    """`images/` and `labels/` of n cases; the label map holds 1 (the ellipsoid's lower half) and 2 (its upper)."""
    for k in range(n):
        rng = np.random.default_rng(k)
        mask = ellipsoid(centre=rng.uniform(0.42, 0.58, 3), radius=rng.uniform(0.25, 0.32))
        labels = mask.astype(np.uint8)
        labels[mask & (np.arange(SHAPE[0]) >= SHAPE[0] // 2)[:, None, None]] = 2
        write_nifti(folder / images / f"v{k:02d}.nii.gz", bright(mask, k), spacing, orientation)
        write_nifti(folder / truth / f"v{k:02d}.nii.gz", labels, spacing, orientation)
    return folder
