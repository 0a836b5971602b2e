"""Voxels -> what a network of volumes gets."""

from __future__ import annotations

import numpy as np

CLIPPED = (0.5, 99.5)  # percentiles: what lies beyond is an artefact, or metal


def normalised(voxels: np.ndarray) -> np.ndarray:
    """float32 `[d, h, w]` in any units -> clipped at the percentiles `CLIPPED`, mean 0, deviation 1 (constant: 0)."""
    low, high = np.percentile(voxels, CLIPPED)
    clipped = np.clip(voxels, low, high)
    mean, std = float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))
    return ((clipped - mean) / std if std > 0 else np.zeros_like(clipped)).astype(np.float32)
