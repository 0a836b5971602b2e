"""What a backbone is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """Normalised planes `[n, c, s, s]` -> features `[n, width]`.

    `image_mean` and `image_std` (per colour, for an image in 0-1) are set where pretrained weights want their
    own normalisation of the image; else it is the training set's. A backbone that sees a grey image sets `grey`:
    the three colours are then divided by one common standard deviation, so that the luma of the normalised colours
    is the luma of the image, normalised. `level_widths` are the channels of `pyramid`'s levels, () where it has none.
    """

    width: int
    image_mean: Sequence[float] | None = None
    image_std: Sequence[float] | None = None
    grey: bool = False
    level_widths: Sequence[int] = ()

    def forward(self, planes: Tensor) -> Tensor:
        """Features, the penultimate layer of the quality model."""
        raise NotImplementedError

    def pyramid(self, planes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features, and the maps `[n, level_widths[i], h, w]` that they came from, finest first."""
        raise NotImplementedError


def pooled(maps: Tensor) -> Tensor:
    """Maps `[n, c, *space]` -> `[n, 2c]`, average and maximum: a share of the area, and is anything wrong anywhere."""
    flat = tuple(range(2, maps.ndim))
    return torch.cat([maps.mean(dim=flat), maps.amax(dim=flat)], dim=1)
