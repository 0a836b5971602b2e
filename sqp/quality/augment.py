"""Augmentation of a batch: image, mask and maps are moved together; colour changes touch the image alone.

None of it changes the Dice: flips and 90° turns are exact; the affine move is mild and what it shifts out is
little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """`augment(planes, generator)` for planes `[n, c, s, s]`; `image` indexes the three colour planes.

    rotate: largest turn in degrees; zoom and shift: largest share; affine: share of the rows that get the
    affine move; colour: largest change of brightness, contrast and saturation as a share. All randomness is
    the generator's.
    """

    image: Sequence[int] = ()
    rotate: float = 15.0
    zoom: float = 0.1
    shift: float = 0.05
    affine: float = 0.5
    colour: float = 0.15

    def __call__(self, planes: Tensor, generator: torch.Generator) -> Tensor:
        """Another tensor of the same shape, dtype and device."""
        planes = dihedral(planes, torch.randint(8, (len(planes),), generator=generator))
        planes = self._affine(planes, generator)
        if self.image and self.colour:
            planes = self._colour(planes, generator)
        return planes

    def _affine(self, planes: Tensor, generator: torch.Generator) -> Tensor:
        n = len(planes)
        draw = torch.rand(n, 4, generator=generator) * 2 - 1
        moved = torch.rand(n, generator=generator) < self.affine
        angle, scale = draw[:, 0] * math.radians(self.rotate), 1 + draw[:, 1] * self.zoom
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        shift = draw[:, 2:] * 2 * self.shift
        theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], dim=1)
        index = moved.nonzero()[:, 0].to(planes.device)
        if not len(index):
            return planes
        part = planes[index]
        grid = F.affine_grid(theta[moved].to(planes), list(part.shape), align_corners=False)
        out = planes.clone()
        out[index] = F.grid_sample(part, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return out

    def _colour(self, planes: Tensor, generator: torch.Generator) -> Tensor:
        factors = (torch.rand(len(planes), 3, generator=generator) * 2 - 1) * self.colour + 1
        bright, contrast, saturation = factors.to(planes)[:, :, None, None, None].unbind(1)
        image = planes[:, list(self.image)] * bright
        image = (image - image.mean(dim=(1, 2, 3), keepdim=True)) * contrast + image.mean(dim=(1, 2, 3), keepdim=True)
        grey = image.mean(dim=1, keepdim=True)
        out = planes.clone()
        out[:, list(self.image)] = ((image - grey) * saturation + grey).clamp(0, 1)
        return out


def dihedral(planes: Tensor, turns: Tensor) -> Tensor:
    """Each row of `[n, c, s, s]` flipped if its turn >= 4, then turned by turn % 4 quarters.

    >>> dihedral(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([4])).tolist()
    [[[[2, 1], [4, 3]]]]
    """
    out = torch.empty_like(planes)
    for turn in turns.unique().tolist():
        index = (turns == turn).nonzero()[:, 0].to(planes.device)
        part = planes[index]
        part = part.flip(-1) if turn >= 4 else part
        out[index] = torch.rot90(part, turn % 4, dims=(-2, -1))
    return out
