"""The symmetries of the square and the cube: what augmentation draws from, and predictions are averaged over."""

from __future__ import annotations

import torch
from torch import Tensor


def turned(planes: Tensor, turn: int) -> Tensor:
    """All rows of `[n, c, s, s]` flipped if turn >= 4, then turned by turn % 4 quarters; volumes as `dihedral` says."""
    if planes.ndim == 5:
        return planes.flip([-1 - bit for bit in range(3) if turn >> bit & 1])
    return torch.rot90(planes.flip(-1) if turn >= 4 else planes, turn % 4, dims=(-2, -1))
