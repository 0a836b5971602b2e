"""Random moves and colours of a batch of planes, for whatever is trained on images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def moved(
    planes: Tensor, generator: torch.Generator, *, rotate: float, zoom: float, shift: float, share: float, padding: str
) -> Tensor:
    """Planes `[n, c, h, w]` of which a `share` of the rows gets an affine move; others stay as they are.

    A turn of at most `rotate` degrees, a zoom and a shift of at most these shares, in pixels, so that a turn keeps
    right angles. What comes from outside is `padding`: zeros or border.
    """
    n, (h, w) = len(planes), planes.shape[-2:]
    draw = torch.rand(n, 4, generator=generator) * 2 - 1
    chosen = torch.rand(n, generator=generator) < share
    index = chosen.nonzero()[:, 0].to(planes.device)
    if not len(index):
        return planes
    angle, scale = draw[:, 0] * math.radians(rotate), 1 + draw[:, 1] * zoom
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    by = draw[:, 2:] * 2 * shift
    theta = torch.stack(
        [torch.stack([cos, -sin * h / w, by[:, 0]], 1), torch.stack([sin * w / h, cos, by[:, 1]], 1)], dim=1
    )
    part = planes[index]
    grid = F.affine_grid(theta[chosen].to(planes), list(part.shape), align_corners=False)
    out = planes.clone()
    out[index] = F.grid_sample(part, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return out


def coloured(image: Tensor, generator: torch.Generator, amount: float) -> Tensor:
    """Images `[n, 3, h, w]` in 0-1 with brightness, contrast and saturation changed by at most the share `amount`."""
    factors = (torch.rand(len(image), 3, generator=generator) * 2 - 1) * amount + 1
    bright, contrast, saturation = factors.to(image)[:, :, None, None, None].unbind(1)
    image = image * bright
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    image = (image - mean) * contrast + mean
    grey = image.mean(dim=1, keepdim=True)
    return ((image - grey) * saturation + grey).clamp(0, 1)
