"""What a pixel classifier reads of an image: multi-scale filters, and the encoding of a promptable segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from skimage.feature import multiscale_basic_features
from torch import Tensor
from torch.nn import functional as F

from sqp.core.frame import Frame
from sqp.core.types import Embedding
from sqp.segmenters.personalised import valid_part

SIDE = 128
"""Longer side of what the forest draws, in pixels; a smaller image is drawn as it is."""
SIGMAS = (1.0, 8.0)
"""Least and greatest scale of the filters, in pixels of that size."""


class Pixels(NamedTuple):
    """What is read of an image.

    `filters` float32 `[f, h, w]` at most `SIDE` along a side; `encoding` unit vectors `[c, h', w']` on the encoding's
    grid and `patches`, the same averaged to `personalised`'s.
    """

    filters: Tensor
    encoding: Tensor
    patches: Tensor


def filters(image: np.ndarray) -> Tensor:
    """Multi-scale filters of an image: grey values, edges and texture, the colours smoothed, and the place.

    Args:
        image: uint8 `[h, w, 3]`.

    Returns:
        float32 `[f, h', w']`, the longer side `SIDE` or that of a smaller image.
    """
    pixels = Frame(image.shape[:2], min(SIDE, max(image.shape[:2]))).image_to_input(image)[0].numpy()
    grey = pixels.mean(0)
    low, high = np.percentile(grey, [1, 99])
    scale = max(float(high - low), 1.0)
    scales = {"sigma_min": SIGMAS[0], "sigma_max": SIGMAS[1]}
    of_grey = multiscale_basic_features((grey - low) / scale, **scales)
    chroma = np.moveaxis((pixels - grey) / scale, 0, -1)
    of_colour = multiscale_basic_features(chroma, edges=False, texture=False, channel_axis=-1, **scales)
    planes = np.concatenate([of_grey, of_colour], -1).astype(np.float32)
    return torch.cat([torch.from_numpy(np.moveaxis(planes, -1, 0).copy()), place(grey.shape)])


def on_own_grid(embedding: Embedding) -> Tensor:
    """Unit vectors `[c, h', w']` of an encoding's valid, unpadded part on its own grid, float32 on the CPU.

    Args:
        embedding: of an image.

    Returns:
        h' x w' covers the image.
    """
    return F.normalize(valid_part(embedding)[0], dim=0)


def place(shape: Sequence[int]) -> Tensor:
    """Where the cells of a grid lie: row and column from the centre, -0.5 to 0.5, and the distance from it.

    Args:
        shape: (h, w).

    Returns:
        float32 `[3, h, w]`.
    """
    y, x = torch.meshgrid(*((torch.arange(side) + 0.5) / side - 0.5 for side in shape), indexing="ij")
    return torch.stack([y, x, torch.hypot(y, x)])
