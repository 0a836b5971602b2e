"""Augmentation of a batch: image, mask and maps are moved together; colour changes touch the image alone.

None of it changes the Dice: flips and 90° turns are exact; the affine move is mild and what it shifts out is
little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sqp.quality.model.symmetries import turned
from sqp.training.augmentation import coloured, moved
from sqp.training.cameras import photographed


@dataclass(frozen=True)
class Augmentation:
    """`augment(planes, generator)` for planes `[n, c, s, s]`; `image` indexes the three colour planes.

    Volumes `[n, c, s, s, s]` are flipped alone.

    rotate: largest turn in degrees; zoom and shift: largest share; affine: share of the rows that get the
    affine move; colour: largest change of brightness, contrast and saturation as a share; cameras: in its place all
    that another camera does. All randomness is the generator's.
    """

    image: Sequence[int] = ()
    rotate: float = 15.0
    zoom: float = 0.1
    shift: float = 0.05
    affine: float = 0.5
    colour: float = 0.15
    cameras: bool = False

    def __call__(self, planes: Tensor, generator: torch.Generator) -> Tensor:
        """Another tensor of the same shape, dtype and device."""
        planes = dihedral(planes, torch.randint(8, (len(planes),), generator=generator))
        if planes.ndim == 5:  # a volume: flips alone
            return planes
        planes = moved(
            *(planes, generator),
            rotate=self.rotate,
            zoom=self.zoom,
            shift=self.shift,
            share=self.affine,
            padding="border",
        )
        image = list(self.image)
        if image and self.cameras:
            planes[:, image] = photographed(planes[:, image], generator)
        elif image and self.colour:
            planes[:, image] = coloured(planes[:, image], generator, self.colour)
        return planes


def dihedral(planes: Tensor, turns: Tensor) -> Tensor:
    """Each row of `[n, c, s, s]` flipped if its turn >= 4, then turned by turn % 4 quarters.

    Of volumes `[n, c, s, s, s]` the bits of the turn (0 to 7) flip the axes: 1 the last, 2 the middle, 4 the first.

    Examples:
        >>> dihedral(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([4])).tolist()
        [[[[2, 1], [4, 3]]]]
    """
    out = torch.empty_like(planes)
    for turn in turns.unique().tolist():
        index = (turns == turn).nonzero()[:, 0].to(planes.device)
        out[index] = turned(planes[index], turn)
    return out
