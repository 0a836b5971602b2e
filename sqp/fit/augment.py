"""Augmentation of a batch for segmentation: image, truth and valid pixels move together, colours alone in the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sqp.training.augmentation import coloured, moved


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
        sizes = {"rotate": self.rotate, "zoom": self.zoom, "shift": self.shift, "share": self.affine}
        planes = moved(planes, generator, **sizes, padding="zeros")  # from outside comes what is not valid
        return coloured(planes[:, :3], generator, self.colour), planes[:, 3:4] >= 0.5, planes[:, 4:] >= 0.5


def _flipped(planes: Tensor, flips: Tensor) -> Tensor:
    """Each row of `[n, c, h, w]` flipped up-down and left-right as `flips` bool `[n, 2]` says."""
    flips = flips.to(planes.device)[:, :, None, None, None]
    planes = torch.where(flips[:, 0], planes.flip(2), planes)
    return torch.where(flips[:, 1], planes.flip(3), planes)
