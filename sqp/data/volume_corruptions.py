"""The corruptions of `sqp.data.corruptions` for volumes, bool `[d, h, w]`, by the same names and rules.

Distances are in voxels, sizes relative to the radius of the ball of the mask's volume.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from sqp.data.noise import smooth_volume

Box = tuple[slice, ...]
Donor = np.ndarray | None


def erosion(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Keep what lies deeper than severity times the greatest depth; the surface is roughened a little."""
    box = _box(mask)
    if box is None:
        return mask.copy()
    depth = ndimage.distance_transform_edt(np.pad(mask[box], 1))[1:-1, 1:-1, 1:-1]
    out = np.zeros_like(mask)
    out[box] = mask[box] & (depth > 0.98 * severity * depth.max() * _rough(rng, depth.shape))
    return out


def dilation(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Add what lies within severity times 1.5 equivalent radii; the surface is roughened a little."""
    reach = 1.5 * _radius(mask)
    box = _box(mask, math.ceil(1.5 * reach) + 1)
    if box is None:
        return mask.copy()
    outside = ndimage.distance_transform_edt(~mask[box])
    out = mask.copy()
    out[box] |= outside < severity * reach * _rough(rng, outside.shape)
    return out


def elastic(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Warp by a smooth displacement field, of standard deviation severity times 1.2 equivalent radii."""
    if not mask.any():
        return mask.copy()
    radius = _radius(mask)
    fields = [smooth_volume(rng, mask.shape, _cells(mask.shape, 1.2 * radius)) for _ in range(3)]
    axes = np.ogrid[tuple(slice(n) for n in mask.shape)]
    moved = [np.rint(axis + 1.2 * radius * severity * field) for axis, field in zip(axes, fields, strict=True)]
    clipped = (np.clip(axis, 0, n - 1).astype(np.int32) for axis, n in zip(moved, mask.shape, strict=True))
    return mask[tuple(clipped)]


def blob_add(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Add an irregular blob on the surface, of radius up to 2.5 equivalent radii (an empty mask: anywhere)."""
    return mask | _blob(mask, 2.5 * severity * (_radius(mask) or 0.15 * min(mask.shape)), rng)


def blob_cut(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Cut an irregular blob on the surface out of the mask, of radius up to 2.5 equivalent radii."""
    return mask & ~_blob(mask, 2.5 * severity * _radius(mask), rng)


def shift(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Move the mask in a random direction by up to its own extent there; what leaves the volume is lost."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    box = _box(mask)
    if box is None:
        return mask.copy()
    extent = sum((one.stop - one.start) * abs(along) for one, along in zip(box, direction, strict=True))
    return _translate(mask, severity * extent * direction)


def dropout(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Drop irregular patches, up to 98 % of the mask's volume; a sixth to a third of the mask's extent each."""
    cells = rng.uniform(3, 6)
    box = _box(mask)
    if box is None:
        return mask.copy()
    part = mask[box]
    field = smooth_volume(rng, part.shape, cells)
    rank = round(0.98 * severity * int(part.sum()))
    out = mask.copy()
    if rank:
        out[box] = part & (field > np.partition(field[part], rank - 1)[rank - 1])
    return out


def swap(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Another volume's mask, resized: on this mask's centroid at severity 0, in its own place at 1."""
    if donor is None:
        raise ValueError("the corruption 'swap' needs a donor, the mask of another image")
    factors = [n / m for n, m in zip(mask.shape, donor.shape, strict=True)]
    other = ndimage.zoom(donor.astype(np.uint8), factors, order=0, grid_mode=True, mode="nearest").astype(bool)
    if not (mask.any() and other.any()):
        return other
    here, there = (np.array(ndimage.center_of_mass(one)) for one in (mask, other))
    return _translate(other, (1 - severity) * (here - there))


def _radius(mask: np.ndarray) -> float:
    """Radius of the ball of the same volume, in voxels."""
    return (3 * np.count_nonzero(mask) / (4 * math.pi)) ** (1 / 3)


def _cells(shape: tuple[int, ...], size: float) -> float:
    """Bumps of `size` voxels along the longest side."""
    return float(np.clip(max(shape) / max(size, 1e-6), 3, 48))


def _rough(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(1 + 0.15 * smooth_volume(rng, shape, 6), 0.5, 1.5)


def _box(mask: np.ndarray, margin: int = 0) -> Box | None:
    """The mask's bounding box, grown by `margin` voxels within the volume; None for an empty mask."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    sides = zip(found[0], mask.shape, strict=True)
    return tuple(slice(max(0, one.start - margin), min(n, one.stop + margin)) for one, n in sides)


def _blob(mask: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """An irregular ball around a voxel of the mask's surface (empty mask: any voxel)."""
    where, rough = rng.uniform(), smooth_volume(rng, mask.shape, _cells(mask.shape, max(radius, 4)))
    places = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if not len(places):
        places = np.argwhere(np.ones_like(mask))
    centre = places[int(where * len(places))]
    axes = np.ogrid[tuple(slice(n) for n in mask.shape)]
    squared = sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True))
    return np.sqrt(squared) < radius * np.clip(1 + 0.25 * rough, 0.5, 1.5)


def _translate(mask: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Moved by whole voxels, False where nothing comes in."""
    return ndimage.shift(mask.astype(np.uint8), np.rint(by), order=0, mode="constant", prefilter=False).astype(bool)
