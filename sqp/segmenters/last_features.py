"""What a plain network's last layer reads, as one vector a mask: its own features, at hardly any cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a layer is given while the context lasts."""
    read: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    try:
        yield read
    finally:
        handle.remove()


def pooled(features: Tensor, logits: Tensor, padded: tuple[int, int]) -> Tensor:
    """`[2 c]`: the means of `[1, c, h', w']` over the image, and over its mask as the probability of `logits` says.

    logits `[1, 1, *grid]`; features are those of the input, `padded` to (h, w), of which the grid is the upper left.
    """
    grid = logits.shape[2:]
    h, w = (max(1, round(side * n / whole)) for side, n, whole in zip(grid, features.shape[2:], padded, strict=True))
    valid = features[0, :, :h, :w]
    weight = F.adaptive_avg_pool2d(logits.sigmoid(), (h, w))[0]
    inside = (valid * weight).sum((1, 2)) / weight.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return torch.cat([valid.mean((1, 2)), inside])
