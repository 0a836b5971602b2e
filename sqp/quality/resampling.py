"""Pillow's bilinear resizing as products with matrices in torch, so that a graph of any image size can hold it.

`channels.resize` and `channels.image_planes` are what a bundle is trained with; these give the same planes. A size may
be symbolic (torch.export), so nothing here branches on it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

GAP = 3
"""Pillow's `reducing_gap`: an image is first averaged over whole blocks, down to so many times the wanted size."""


def plane(values: Tensor, size: int) -> Tensor:
    """float `[h, w]` -> float32 `[size, size]`, as `channels.resize`."""
    h, w = values.shape
    rows, columns = _weights(_number(h), h, size).float(), _weights(_number(w), w, size).float()
    return rows @ (values.float() @ columns.T)


def colours(image: Tensor, size: int) -> Tensor:
    """uint8 `[h, w, 3]` -> float64 `[3, size, size]` of whole numbers, as `channels.image_planes`.

    Pillow rounds after the blocks, after the columns and after the rows, and so does this. (Of some tall images Pillow
    13 takes the rows first: there a pixel may differ by one grey level.)
    """
    h, w, _ = image.shape
    lengths = torch.sym_max(1, h // (GAP * size)), torch.sym_max(1, w // (GAP * size))
    rows, columns = _blocks(h, lengths[0]), _blocks(w, lengths[1])
    sums = (rows @ image.permute(2, 0, 1).float() @ columns.T).double()  # exact: whole numbers below 2 ** 24
    counts = rows.sum(1)[:, None].double() * columns.sum(1)[None].double()
    means = ((sums + (counts / 2).floor()) * (2**24 / counts).floor() / 2**24).floor()  # Pillow's whole numbers
    means = _rounded(means @ _weights(_number(w) / _number(lengths[1]), columns.shape[0], size).T)
    return _rounded(_weights(_number(h) / _number(lengths[0]), rows.shape[0], size) @ means)


def _weights(length: Tensor, pixels: int, size: int) -> Tensor:
    """float64 `[size, pixels]`: a triangle about each new pixel, as wide as it is shrunk; rows sum to 1.

    `length` is that of the resized line in old pixels; the last of them may reach past it.
    """
    scale = length / size
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    at = torch.arange(pixels, dtype=torch.float64) + 0.5
    weights = (1 - ((at[None] - centre[:, None]) / scale.clamp(min=1.0)).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _blocks(pixels: int, length: Any) -> Tensor:
    """float32 0/1 `[blocks, pixels]`: which pixels lie in which block of `length`; the last may be shorter."""
    blocks = (pixels + length - 1) // length
    return (torch.arange(pixels)[None] // length == torch.arange(blocks)[:, None]).float()


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def _number(size: Any) -> Tensor:
    return torch.scalar_tensor(size, dtype=torch.float64)
