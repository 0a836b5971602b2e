"""Augmentation of a batch for segmentation: image, truth and valid pixels move together, colours alone in the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """`augment(image, truth, valid, generator)`: image float `[n, 3, h, w]` in 0-1, the others bool `[n, 1, h, w]`.

    Flips row by row; the axes of the whole batch swapped half of the time (with flips: quarter turns); then, for
    `affine` of the rows, a turn of at most `rotate` degrees, a zoom and a shift of at most these shares; brightness,
    contrast and saturation by at most `colour`. All randomness is the generator's.
    """

    rotate: float = 30.0
    zoom: float = 0.2
    shift: float = 0.1
    affine: float = 0.5
    colour: float = 0.25

    def __call__(
        self, image: Tensor, truth: Tensor, valid: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New tensors; height and width change places where the axes are swapped."""
        planes = torch.cat([image, truth.to(image), valid.to(image)], dim=1)
        planes = _flipped(planes, torch.rand(len(planes), 2, generator=generator) < 0.5)
        if torch.rand((), generator=generator) < 0.5:
            planes = planes.transpose(2, 3)
        planes = self._moved(planes, generator)
        return self._coloured(planes[:, :3], generator), planes[:, 3:4] >= 0.5, planes[:, 4:] >= 0.5

    def _moved(self, planes: Tensor, generator: torch.Generator) -> Tensor:
        """The affine move, in pixels, so that a turn keeps right angles; what comes from outside is zero, not valid."""
        n, (h, w) = len(planes), planes.shape[-2:]
        draw = torch.rand(n, 4, generator=generator) * 2 - 1
        rows = (torch.rand(n, generator=generator) < self.affine).nonzero()[:, 0]
        if not len(rows):
            return planes
        angle, scale = draw[:, 0] * math.radians(self.rotate), 1 + draw[:, 1] * self.zoom
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        shift = draw[:, 2:] * 2 * self.shift
        theta = torch.stack(
            [torch.stack([cos, -sin * h / w, shift[:, 0]], 1), torch.stack([sin * w / h, cos, shift[:, 1]], 1)], dim=1
        )
        index = rows.to(planes.device)
        part = planes[index]
        grid = F.affine_grid(theta[rows].to(planes), list(part.shape), align_corners=False)
        out = planes.clone()
        out[index] = F.grid_sample(part, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return out

    def _coloured(self, image: Tensor, generator: torch.Generator) -> Tensor:
        factors = (torch.rand(len(image), 3, generator=generator) * 2 - 1) * self.colour + 1
        bright, contrast, saturation = factors.to(image)[:, :, None, None, None].unbind(1)
        image = image * bright
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        image = (image - mean) * contrast + mean
        grey = image.mean(dim=1, keepdim=True)
        return ((image - grey) * saturation + grey).clamp(0, 1)


def _flipped(planes: Tensor, flips: Tensor) -> Tensor:
    """Each row of `[n, c, h, w]` flipped up-down and left-right as `flips` bool `[n, 2]` says."""
    flips = flips.to(planes.device)[:, :, None, None, None]
    planes = torch.where(flips[:, 0], planes.flip(2), planes)
    return torch.where(flips[:, 1], planes.flip(3), planes)
