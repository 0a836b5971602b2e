"""Read logits at other places of the grid, bilinearly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sqp.frame import Frame


def resample(
    logits: Tensor, source: Frame, target: Frame, scale: tuple[float, float], shift: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Logits `[*source.grid]` read at the cells of `target.grid`, and which of these lie in the source.

    An original pixel at x lies at x * scale + shift in the transformed image. Returns logits and bool,
    both `[*target.grid]`.
    """
    axes, inside = [], []
    for axis in (0, 1):  # x, y
        cells = target.grid[1 - axis]
        centre = (torch.arange(cells, dtype=torch.float64) + 0.5) * target.stride / target.scale_xy[axis]
        moved = centre * scale[axis] + shift[axis]
        inside.append((moved >= 0) & (moved <= source.original[1 - axis]))
        place = moved * source.scale_xy[axis] / source.stride
        axes.append(2 * place / source.grid[1 - axis] - 1)
    read = _read(logits, axes[0], axes[1])
    return read, (inside[1][:, None] & inside[0][None, :]).to(logits.device)


def shift_cells(logits: Tensor, x: float, y: float) -> Tensor:
    """`[h, w]` read x cells to the right and y cells below each cell; the last row or column is repeated.

    >>> shift_cells(torch.tensor([[0.0, 1.0, 2.0]]), 1.0, 0.0).round().tolist()
    [[1.0, 2.0, 2.0]]
    """
    h, w = logits.shape
    axes = [2 * (torch.arange(n, dtype=torch.float64) + 0.5 + by) / n - 1 for n, by in ((w, x), (h, y))]
    return _read(logits, axes[0], axes[1])


def _read(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`[h, w]` at columns x and rows y, in -1..1 from edge to edge."""
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None].to(logits)
    return F.grid_sample(logits[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
