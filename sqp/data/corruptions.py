"""Faulty masks from a good one, from hardly to wholly wrong, so that quality can be learned over its whole
range.

Every corruption is a function `(mask bool [h, w], severity in 0..1, rng, donor) -> bool [h, w]`. It draws the
same random numbers whatever the severity, so one generator state is one *realisation*, worsened by the
severity alone. Sizes are relative to the mask's equivalent radius sqrt(area / pi). Severity 0 leaves the mask
as it is (not `swap`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from sqp.data.noise import resize_field, smooth_noise, wavy_radius
from sqp.metrics.overlap import dice

Corruption = Callable[[np.ndarray, float, np.random.Generator, np.ndarray | None], np.ndarray]
Box = tuple[slice, slice]

_WORKING_SIDE = 192  # distances and displacements are smooth: enough at this size, then brought up bilinearly


def erosion(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Keep what lies deeper than severity times the greatest depth; the border is roughened a little."""
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    part = np.pad(mask[box], 1)
    depth = _distance(part)[1:-1, 1:-1]
    rough = 1 + 0.15 * smooth_noise(rng, depth.shape, 6)
    out = np.zeros_like(mask)
    out[box] = mask[box] & (depth > 0.98 * severity * depth.max() * np.clip(rough, 0.5, 1.5))
    return out


def dilation(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Add what lies within severity times two equivalent radii; the border is roughened a little."""
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    reach = 2 * _radius(mask)
    box = _grow(box, math.ceil(reach * 1.5) + 1, mask.shape)
    outside = _distance(~mask[box])
    rough = 1 + 0.15 * smooth_noise(rng, mask.shape, 6)[box]
    out = mask.copy()
    out[box] |= outside < severity * reach * np.clip(rough, 0.5, 1.5)
    return out


def elastic(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Warp by a smooth displacement field, of standard deviation severity times 1.2 equivalent radii."""
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    radius = _radius(mask)
    cells = np.clip(max(mask.shape) / (1.2 * radius), 3, 48)
    fields = [smooth_noise(rng, mask.shape, cells) for _ in range(2)]
    amplitude = 1.2 * radius * severity
    box = _grow(box, math.ceil(3 * amplitude) + 1, mask.shape)
    y, x = (axis.astype(np.float32) for axis in np.ogrid[box])
    source_y = np.clip(np.rint(y + amplitude * fields[0][box]), 0, mask.shape[0] - 1).astype(np.int32)
    source_x = np.clip(np.rint(x + amplitude * fields[1][box]), 0, mask.shape[1] - 1).astype(np.int32)
    out = np.zeros_like(mask)
    out[box] = mask[source_y, source_x]
    return out


def blob_add(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Add an irregular blob at the border, of radius up to 2.5 equivalent radii (an empty mask: anywhere)."""
    centre = _border_point(mask, rng)
    radius = _radius(mask) or 0.15 * min(mask.shape)
    return mask | _blob(mask.shape, centre, 2.5 * radius * severity, rng)


def blob_cut(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Cut an irregular blob at the border out of the mask, of radius up to 2.5 equivalent radii."""
    centre = _border_point(mask, rng)
    return mask & ~_blob(mask.shape, centre, 2.5 * _radius(mask) * severity, rng)


def shift(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Move the mask in a random direction by up to its own extent there; what leaves the image is lost."""
    angle = rng.uniform(0, 2 * np.pi)
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    height, width = (s.stop - s.start for s in box)
    extent = height * abs(math.sin(angle)) + width * abs(math.cos(angle))
    return _translate(mask, severity * extent * math.sin(angle), severity * extent * math.cos(angle))


def dropout(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Drop irregular patches, up to 98 % of the mask's area; a sixth to a third of the mask's extent each."""
    cells = rng.uniform(3, 6)
    box = _bounding_box(mask)
    if box is None:
        return mask.copy()
    part = mask[box]
    field = smooth_noise(rng, part.shape, cells)
    values = field[part]
    rank = round(0.98 * severity * values.size)
    out = mask.copy()
    if rank:
        out[box] = part & (field > np.partition(values, rank - 1)[rank - 1])
    return out


def swap(mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None) -> np.ndarray:
    """Another image's mask, resized: on this mask's centroid at severity 0, in its own place at 1."""
    if donor is None:
        raise ValueError("the corruption 'swap' needs a donor, the mask of another image")
    other = resize_field(donor, mask.shape, smooth=False) >= 0.5
    if not (mask.any() and other.any()):
        return other
    here, there = (np.array(_centroid(m)) for m in (mask, other))
    dy, dx = (1 - severity) * (here - there)
    return _translate(other, dy, dx)


def corrupt(
    name: str, mask: np.ndarray, severity: float, rng: np.random.Generator, donor: np.ndarray | None = None
) -> np.ndarray:
    """The corruption `name` of `mask` (bool `[h, w]` or `[d, h, w]`) at `severity` in 0..1 -> bool, the same shape.

    `donor`, a bool mask of any size, is needed by `swap` alone. An empty mask stays empty, but for `blob_add`
    and `swap`. Raises `ConfigError` for an unknown name, `ValueError` for a severity outside of 0..1.

    >>> mask = np.zeros((64, 64), bool); mask[20:44, 20:44] = True
    >>> bool(corrupt("erosion", mask, 0.5, np.random.default_rng(0)).sum() < mask.sum())
    True
    """
    from sqp.core.errors import lookup
    from sqp.data import CORRUPTIONS, VOLUME_CORRUPTIONS  # the tables import this file

    function = lookup("corruption", name, CORRUPTIONS if np.ndim(mask) == 2 else VOLUME_CORRUPTIONS)
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
    """Corrupt `mask` so that its Dice with `truth` comes near `target` -> (bool `[h, w]`, severity).

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
    """Radius of the disc of the same area, in pixels."""
    return math.sqrt(np.count_nonzero(mask) / math.pi)


def _centroid(mask: np.ndarray) -> tuple[float, float]:
    """(y, x) of a mask that is not empty."""
    y, x = (float(counts @ np.arange(len(counts)) / counts.sum()) for counts in (mask.sum(1), mask.sum(0)))
    return y, x


def _bounding_box(mask: np.ndarray) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows.size else None


def _grow(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    y, x = (slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, shape, strict=True))
    return y, x


def _distance(inside: np.ndarray) -> np.ndarray:
    """Distance to the nearest False in pixels, float32; computed at a reduced size if large."""
    step = max(inside.shape) // _WORKING_SIDE
    if step <= 1:
        return ndimage.distance_transform_edt(inside).astype(np.float32)
    small = tuple(-(-n // step) for n in inside.shape)
    reduced = resize_field(inside, small, smooth=False) >= 0.5
    if reduced.all() or not reduced.any():  # something thin was lost
        return ndimage.distance_transform_edt(inside).astype(np.float32)
    sampling = [n / m for n, m in zip(inside.shape, small, strict=True)]
    return resize_field(ndimage.distance_transform_edt(reduced, sampling), inside.shape, smooth=False)


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


def _blob(shape: tuple[int, ...], centre: tuple[float, float], radius: float, rng: np.random.Generator) -> np.ndarray:
    """An irregular closed region around `centre` (y, x), bool `[h, w]`."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    reach = radius * np.minimum(wavy_radius(rng, angle, 0.25), 2)
    x, y = centre[1] + reach * np.cos(angle), centre[0] + reach * np.sin(angle)
    canvas = Image.new("L", (shape[1], shape[0]))
    ImageDraw.Draw(canvas).polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=1)
    return np.asarray(canvas).astype(bool)


def _translate(mask: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """Moved by whole pixels, False where nothing comes in."""
    out = np.zeros_like(mask)
    (h, w), (y, x) = mask.shape, (round(dy), round(dx))
    if abs(y) < h and abs(x) < w:
        out[max(0, y) : h + min(0, y), max(0, x) : w + min(0, x)] = mask[
            max(0, -y) : h + min(0, -y), max(0, -x) : w + min(0, -x)
        ]
    return out
