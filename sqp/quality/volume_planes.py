"""Records of volumes -> input planes: as `channels`, but in three dimensions, the image one grey plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sqp.data.volumes import read_volume, windowed
from sqp.volume_frame import resample_volume


def resize_volume(array: np.ndarray, size: int) -> np.ndarray:
    """float `[d, h, w]` -> float32 `[size, size, size]`, linear along each axis, antialiased where it shrinks."""
    voxels = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
    return resample_volume(voxels, (size, size, size)).numpy()


def volume_plane(path: str | Path, size: int) -> np.ndarray:
    """A volume's file -> uint8 `[1, size, size, size]`, its percentiles black and white. CaseError as `read_volume`."""
    small = resize_volume(windowed(read_volume(path).voxels), size)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)[None]
