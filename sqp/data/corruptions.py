"""Faulty masks from a good one, from hardly to wholly wrong, so that quality can be learned over its whole range.

Every corruption is a function `(mask bool [h, w] or [d, h, w], severity in 0..1, rng, donor) -> bool, the same shape`.
It draws the same random numbers whatever the severity, so one generator state is one *realisation*, worsened by the
severity alone. Sizes are in pixels (voxels), relative to the equivalent radius: that of the disc, or ball, of the same
size. Severity 0 leaves the mask as it is (not `swap`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from sqp.core.errors import lookup
from sqp.data.noise import resize_field, smooth_noise, smooth_volume, wavy_radius
from sqp.metrics.overlap import dice

Donor = np.ndarray | None
Corruption = Callable[[np.ndarray, float, np.random.Generator, Donor], np.ndarray]
Box = tuple[slice, ...]

_WORKING_SIDE = 192  # distances and displacements are smooth: enough at this size, then brought up bilinearly


def erosion(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Keep what lies deeper than severity times the greatest depth; the border is roughened a little."""
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    depth = _distance(np.pad(mask[box], 1))[(slice(1, -1),) * mask.ndim]
    out = np.zeros_like(mask)
    out[box] = mask[box] & (depth > 0.98 * severity * depth.max() * _rough(rng, depth.shape))
    return out


def dilation(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Add what lies within severity times two equivalent radii (of a volume 1.5); the border is roughened a little."""
    flat = mask.ndim == 2
    reach = (2 if flat else 1.5) * _radius(mask)
    box = _bounding_box(mask, math.ceil(1.5 * reach) + 1)
    if box is None:
        return mask.copy()
    outside = _distance(~mask[box])
    rough = _rough(rng, mask.shape)[box] if flat else _rough(rng, outside.shape)
    out = mask.copy()
    out[box] |= outside < severity * reach * rough
    return out


def elastic(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Warp by a smooth displacement field, of standard deviation severity times 1.2 equivalent radii."""
    if not mask.any():
        return mask.copy()
    radius = 1.2 * _radius(mask)
    fields = [_noise(rng, mask.shape, _cells(mask.shape, radius)) for _ in range(mask.ndim)]
    amplitude = radius * severity
    # of an image nothing beyond three deviations is moved, and single precision will do
    flat = mask.ndim == 2
    box: Any = _bounding_box(mask, math.ceil(3 * amplitude) + 1) if flat else (slice(None),) * mask.ndim
    axes = np.ogrid[box if flat else tuple(slice(n) for n in mask.shape)]
    moved = [
        np.rint((axis.astype(np.float32) if flat else axis) + amplitude * field[box])
        for axis, field in zip(axes, fields, strict=True)
    ]
    source = tuple(np.clip(axis, 0, n - 1).astype(np.int32) for axis, n in zip(moved, mask.shape, strict=True))
    out = np.zeros_like(mask)
    out[box] = mask[source]
    return out


def blob_add(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Add an irregular blob at the border, of radius up to 2.5 equivalent radii (an empty mask: anywhere)."""
    return mask | _blob(mask, 2.5 * severity * (_radius(mask) or 0.15 * min(mask.shape)), rng)


def blob_cut(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Cut an irregular blob at the border out of the mask, of radius up to 2.5 equivalent radii."""
    return mask & ~_blob(mask, 2.5 * severity * _radius(mask), rng)


def shift(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Move the mask in a random direction by up to its own extent there; what leaves the image is lost."""
    direction = _direction(mask.ndim, rng)
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    extent = sum((side.stop - side.start) * abs(along) for side, along in zip(box, direction, strict=True))
    return _translate(mask, [severity * extent * along for along in direction])


def dropout(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Drop irregular patches, up to 98 % of the mask; a sixth to a third of the mask's extent each."""
    cells = rng.uniform(3, 6)
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    part = mask[box]
    field = _noise(rng, part.shape, cells)
    values = field[part]
    rank = round(0.98 * severity * values.size)
    out = mask.copy()
    if rank:
        out[box] = part & (field > np.partition(values, rank - 1)[rank - 1])
    return out


def swap(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: Donor) -> np.ndarray:
    """Another image's mask, resized: on this mask's centroid at severity 0, in its own place at 1."""
    if donor is None:
        raise ValueError("the corruption 'swap' needs a donor, the mask of another image")
    if mask.ndim == 2:
        other = resize_field(donor, mask.shape, smooth=False) >= 0.5
    else:
        factors = [n / m for n, m in zip(mask.shape, donor.shape, strict=True)]
        other = ndimage.zoom(donor.astype(np.uint8), factors, order=0, grid_mode=True, mode="nearest").astype(bool)
    if not (mask.any() and other.any()):
        return other
    here, there = (np.array(_centroid(one)) for one in (mask, other))
    return _translate(other, (1 - severity) * (here - there))


CORRUPTIONS: dict[str, Corruption] = {
    "erosion": erosion,
    "dilation": dilation,
    "elastic": elastic,
    "blob_add": blob_add,
    "blob_cut": blob_cut,
    "shift": shift,
    "dropout": dropout,
    "swap": swap,
}


def corrupt(
    name: str, mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None = None
) -> np.ndarray:
    """The corruption `name` of `mask` (bool `[h, w]` or `[d, h, w]`) at `severity` in 0..1 -> bool, the same shape.

    `donor`, a bool mask of any size, is needed by `swap` alone. An empty mask stays empty, but for `blob_add`
    and `swap`. Raises `ConfigError` for an unknown name, `ValueError` for a severity outside of 0..1.

    Examples:
        >>> mask = np.zeros((64, 64), bool); mask[20:44, 20:44] = True
        >>> bool(corrupt("erosion", mask, 0.5, np.random.default_rng(0)).sum() < mask.sum())
        True
    """
    function = lookup("corruption", name, CORRUPTIONS)
    if not 0 <= severity <= 1:
        raise ValueError(f"severity {severity} is outside of 0..1")
    mask = np.asarray(mask, dtype=bool)
    if severity == 0 and name != "swap":
        return mask.copy()
    return function(mask, float(severity), rng, donor)


def corrupt_to_dice(
    name: str,
    mask: np.ndarray,
    truth: np.ndarray,
    target: float,
    rng: np.random.Generator,
    donor: np.ndarray | None = None,
    steps: int = 10,
) -> tuple[np.ndarray, float]:
    """Corrupt `mask` so that its Dice with `truth` comes near `target` -> (bool, severity).

    Bisection over the severity within one realisation. Returns the nearest of all that were tried, the two
    ends included: a corruption cannot raise a Dice for sure, nor reach every low one, and `swap` can hardly
    be steered.
    """
    noise = int(rng.integers(2**62))

    def attempt(severity: float) -> tuple[float, np.ndarray, float]:
        out = corrupt(name, mask, severity, np.random.default_rng(noise), donor)
        return dice(out, truth) - target, out, severity

    tried = [attempt(0.0), attempt(1.0)]
    low, high = 0.0, 1.0
    for _ in range(steps):
        tried.append(attempt((low + high) / 2))
        difference, _, severity = tried[-1]
        if abs(difference) < 1e-3:
            break
        low, high = (severity, high) if difference > 0 else (low, severity)
    _, nearest, severity = min(tried, key=lambda trial: abs(trial[0]))
    return nearest, severity


def _radius(mask: np.ndarray) -> float:
    """Radius of the disc, or ball, of the same size."""
    n = np.count_nonzero(mask)
    return math.sqrt(n / math.pi) if mask.ndim == 2 else (3 * n / (4 * math.pi)) ** (1 / 3)


def _centroid(mask: np.ndarray) -> list[float]:
    """The mean index by axis of a mask that is not empty."""
    axes = [tuple(other for other in range(mask.ndim) if other != axis) for axis in range(mask.ndim)]
    return [float(counts @ np.arange(len(counts)) / counts.sum()) for counts in (mask.sum(axis) for axis in axes)]


def _bounding_box(mask: np.ndarray, margin: int = 0) -> Box | None:
    """The mask's bounding box, grown by `margin` within the image; None for an empty mask."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    sides = zip(found[0], mask.shape, strict=True)
    return tuple(slice(max(0, one.start - margin), min(n, one.stop + margin)) for one, n in sides)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], cells: float) -> np.ndarray:
    """A smooth field, about N(0, 1), with some `cells` bumps along the longest side."""
    return smooth_noise(rng, shape, cells) if len(shape) == 2 else smooth_volume(rng, shape, cells)


def _cells(shape: tuple[int, ...], size: float) -> float:
    """Bumps of `size` along the longest side."""
    return float(np.clip(max(shape) / max(size, 1e-6), 3, 48))


def _rough(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Factors about 1 that roughen a border."""
    return np.clip(1 + 0.15 * _noise(rng, shape, 6), 0.5, 1.5)


def _direction(ndim: int, rng: np.random.Generator) -> list[float]:
    """A random unit vector."""
    if ndim == 2:
        angle = rng.uniform(0, 2 * np.pi)
        return [math.sin(angle), math.cos(angle)]
    direction = rng.normal(size=ndim)
    return list(direction / np.linalg.norm(direction))


def _distance(inside: np.ndarray) -> np.ndarray:
    """Distance to the nearest False; of a large image float32, computed at a reduced size."""
    if inside.ndim > 2:
        return np.asarray(ndimage.distance_transform_edt(inside))
    step = max(inside.shape) // _WORKING_SIDE
    if step <= 1:
        return ndimage.distance_transform_edt(inside).astype(np.float32)
    small = tuple(-(-n // step) for n in inside.shape)
    reduced = resize_field(inside, small, smooth=False) >= 0.5
    if reduced.all() or not reduced.any():  # something thin was lost
        return ndimage.distance_transform_edt(inside).astype(np.float32)
    sampling = [n / m for n, m in zip(inside.shape, small, strict=True)]
    return resize_field(ndimage.distance_transform_edt(reduced, sampling), inside.shape, smooth=False)


def _blob(mask: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """An irregular region around a place on the mask's border (empty mask: anywhere), bool of its shape."""
    if mask.ndim == 2:
        y, x = _border_point(mask, rng)
        angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        reach = radius * np.minimum(wavy_radius(rng, angle, 0.25), 2)
        canvas = Image.new("L", mask.shape[::-1])
        outline = zip((x + reach * np.cos(angle)).tolist(), (y + reach * np.sin(angle)).tolist(), strict=True)
        ImageDraw.Draw(canvas).polygon(list(outline), fill=1)
        return np.asarray(canvas).astype(bool)
    where, rough = rng.uniform(), _noise(rng, mask.shape, _cells(mask.shape, max(radius, 4)))
    places = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if not len(places):
        places = np.argwhere(np.ones_like(mask))
    axes = np.ogrid[tuple(slice(n) for n in mask.shape)]
    squared = sum((axis - at) ** 2 for axis, at in zip(axes, places[int(where * len(places))], strict=True))
    return np.asarray(np.sqrt(squared) < radius * np.clip(1 + 0.25 * rough, 0.5, 1.5))


def _border_point(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """(y, x) on the border: the last mask pixel on a ray from the centroid (empty mask: anywhere)."""
    u, v = rng.uniform(size=2)
    if not mask.any():
        return u * mask.shape[0], v * mask.shape[1]
    y, x = _centroid(mask)
    along = np.arange(0, math.hypot(*mask.shape), 0.5)
    rows = np.rint(y + along * math.sin(2 * math.pi * u)).astype(int)
    columns = np.rint(x + along * math.cos(2 * math.pi * u)).astype(int)
    valid = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    hits = np.flatnonzero(mask[rows[valid], columns[valid]])
    last = hits[-1] if hits.size else 0
    return float(rows[valid][last]), float(columns[valid][last])


def _translate(mask: np.ndarray, by: Sequence[float]) -> np.ndarray:
    """Moved by whole pixels, False where nothing comes in."""
    out, steps = np.zeros_like(mask), [round(float(step)) for step in by]
    sides = list(zip(steps, mask.shape, strict=True))
    if all(abs(step) < n for step, n in sides):
        there, here = (tuple(slice(max(0, s * step), n + min(0, s * step)) for step, n in sides) for s in (1, -1))
        out[there] = mask[here]
    return out
