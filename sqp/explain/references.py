"""Maps that know nothing of the model, to compare with: chance, nearness of the mask's border, its probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from sqp.core.seeding import numpy_generator
from sqp.quality.model.channels import resize

REACH = 0.05  # of the frame's side, over which nearness falls to 1 / e


def random_maps(record_ids: Sequence[str], size: int, cells: int, seed: int = 0, dims: int = 2) -> np.ndarray:
    """float32 `[n, size, size]` in 0-1: noise on cells x cells, brought up as a CAM is; by seed and record id.

    With `dims` 3, for volumes, `[n, size, size, size]`.
    """
    noise = [numpy_generator(seed, "random map", name).random((cells,) * dims) for name in record_ids]
    return np.stack([resize(one.astype(np.float32), size) for one in noise]).clip(0, 1)


def border_maps(masks: np.ndarray) -> np.ndarray:
    """bool `[n, s, s]` -> float32: exp(-distance to the mask's outline / 5 % of the side); 0 for an empty mask."""
    out = np.zeros(masks.shape, np.float32)
    for row, mask in enumerate(masks):
        outline = mask & ~binary_erosion(mask)
        if outline.any():
            out[row] = np.exp(-distance_transform_edt(~outline) / (REACH * len(mask)))
    return out


def disagreement(masks: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """bool and 0-1 `[n, s, s]` -> float32: how improbable the mask is at each pixel, by the segmenter's own samples."""
    return np.where(masks, 1 - probability, probability).astype(np.float32)
