"""Smooth random fields, the material of synthetic lesions and of corruptions."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

# blurred white noise, not bare grid points, so that the bumps have no preferred axis
_OVERSAMPLING, _SIGMA, _MARGIN = 2, 1.0, 3


def resize_field(field: np.ndarray, size: tuple[int, int], smooth: bool = True) -> np.ndarray:
    """float `[h, w]` -> float32 `size` (h, w); bicubic, or bilinear where `smooth` is false."""
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.asarray(field, dtype=np.float32)).resize(size[::-1], how))


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: float) -> np.ndarray:
    """float32 `[h, w]`, about N(0, 1), with some `cells` bumps along the longer side.

    Examples:
        >>> field = smooth_noise(np.random.default_rng(0), (60, 80), cells=4)
        >>> field.shape, bool(abs(np.diff(field, axis=1)).max() < 0.5)
        ((60, 80), True)
    """
    longer = max(size)
    coarse = [max(2, round(_OVERSAMPLING * cells * side / longer)) for side in size]
    raw = rng.standard_normal([n + 2 * _MARGIN for n in coarse])
    blurred = ndimage.gaussian_filter(raw, _SIGMA)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return resize_field(blurred * (2 * _SIGMA * np.sqrt(np.pi)), size)


def smooth_volume(rng: np.random.Generator, size: tuple[int, ...], cells: float) -> np.ndarray:
    """As `smooth_noise` on `[d, h, w]`, linear between the bumps.

    Examples:
        >>> smooth_volume(np.random.default_rng(0), (5, 60, 80), cells=4).shape
        (5, 60, 80)
    """
    coarse = [max(2, round(_OVERSAMPLING * cells * side / max(size))) for side in size]
    raw = rng.standard_normal([n + 2 * _MARGIN for n in coarse])
    inner = (slice(_MARGIN, -_MARGIN),) * 3
    blurred = ndimage.gaussian_filter(raw, _SIGMA)[inner] * (2 * _SIGMA * np.sqrt(np.pi)) ** 1.5
    factors = [n / m for n, m in zip(size, coarse, strict=True)]
    return ndimage.zoom(blurred.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")


def fractal_noise(rng: np.random.Generator, size: tuple[int, int], cells: float, octaves: int = 4) -> np.ndarray:
    """Sum of `smooth_noise` at doubled frequency and halved amplitude, scaled to about N(0, 1)."""
    weights = 0.5 ** np.arange(octaves)
    total = sum(w * smooth_noise(rng, size, cells * 2**k) for k, w in enumerate(weights))
    return np.asarray(total / np.sqrt(np.square(weights).sum()), dtype=np.float32)


def wavy_radius(rng: np.random.Generator, angle: np.ndarray, roughness: float, waves: int = 6) -> np.ndarray:
    """Relative radius of an irregular closed contour at each `angle` (radians): mean about 1, never below
    0.2.

    A Fourier series whose amplitudes fall with the frequency; `roughness` is the amplitude of the first ones.
    """
    k = np.arange(2, 2 + waves)
    amplitude = roughness * rng.normal(size=waves) / (k - 1)
    phase = rng.uniform(0, 2 * np.pi, size=waves)
    radius = np.ones_like(angle)
    for a, p, f in zip(amplitude, phase, k, strict=True):
        radius = radius + a * np.cos(f * angle + p)
    return np.maximum(radius, 0.2)
