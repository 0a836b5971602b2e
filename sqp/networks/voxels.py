"""Voxels -> what a network of volumes gets."""

from __future__ import annotations

import math

import numpy as np

CLIPPED = (0.5, 99.5)  # percentiles: what lies beyond is an artefact, or metal


def normalised(voxels: np.ndarray) -> np.ndarray:
    """float32 `[d, h, w]` in any units -> clipped at the percentiles `CLIPPED`, mean 0, deviation 1 (constant: 0).

    float64 is taken for sums only, slice by slice: of a large volume no second copy is made in it.
    """
    low, high = np.percentile(voxels, CLIPPED).astype(np.float32)
    scaled = np.clip(voxels.astype(np.float32, copy=False), low, high)
    mean = float(scaled.mean(dtype=np.float64))
    std = math.sqrt(np.mean([np.square(plane - np.float64(mean)).mean() for plane in scaled]))
    scaled -= np.float32(mean)
    scaled /= np.float32(std) if std > 0 else np.float32(np.inf)
    return scaled
