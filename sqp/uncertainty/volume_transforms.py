"""Transforms of volumes for test-time augmentation: flips along the three axes, undone exactly, and contrasts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from sqp.core.frame import SlicesFrame
from sqp.core.types import GridFrame, Prompt
from sqp.core.volume import Volume
from sqp.uncertainty.transforms import Dihedral, map_prompt

FLIPS = tuple(axes for k in range(4) for axes in combinations((0, 1, 2), k))  # none, one, two, all of d, h, w
GAMMAS = (0.8, 0.9, 1.1, 1.2)
IN_PLANE = {(1,): Dihedral(2, True), (2,): Dihedral(0, True), (1, 2): Dihedral(2)}


@dataclass(frozen=True)
class VolumeTransform:
    """The volume flipped along the axes `flips` (0 d, 1 h, 2 w), its grey values (from lowest to highest) to a power.

    A factor would do nothing: segmenters of volumes normalise what they get.
    """

    flips: tuple[int, ...] = ()
    gamma: float = 1.0

    def image(self, volume: Volume) -> Volume:
        """Exact for a flip."""
        voxels = np.flip(volume.voxels, self.flips)
        low, reach = float(voxels.min()), float(np.ptp(voxels))
        if self.gamma != 1 and reach:
            voxels = ((voxels - low) / reach) ** self.gamma * reach + low
        return volume.with_voxels(voxels)

    def prompt(self, prompt: Prompt, size: tuple[int, ...]) -> Prompt:
        """The prompt in voxels of the flipped volume of `size` (d, h, w)."""
        d, h, w = size
        moved = map_prompt(prompt, lambda x, y: (w - x if 2 in self.flips else x, h - y if 1 in self.flips else y))
        if moved.depth is None or 0 not in self.flips:
            return moved
        return replace(moved, depth=(d - moved.depth[1], d - moved.depth[0]))

    def inverse(self, logits: Tensor, source: GridFrame, target: GridFrame, fallback: Tensor) -> Tensor:
        """Logits `[*grid]` of the transformed volume -> of the original one.

        Exact; slice by slice bilinear along a reversed axis whose last cell is not full, as `Dihedral` does it.
        """
        plane = IN_PLANE.get(tuple(axis for axis in self.flips if axis))
        if plane is not None and isinstance(source, SlicesFrame) and isinstance(target, SlicesFrame):
            logits = torch.stack([plane.inverse(one, source.plane, target.plane, one) for one in logits])
            return logits.flip(0) if 0 in self.flips else logits
        return logits.flip(self.flips) if self.flips else logits


def draw_volume_transforms(n: int, generator: torch.Generator) -> list[VolumeTransform]:
    """n transforms: the seven flips (of one axis, of two, of all), then random flips with a random contrast.

    Args:
        n: number of transforms.
        generator: what draws.

    Returns:
        The transforms.
    """
    made = [VolumeTransform(axes) for axes in FLIPS[1:]]
    while len(made) < n:
        flip, gamma = (int(torch.randint(k, (), generator=generator)) for k in (len(FLIPS), len(GAMMAS)))
        made.append(VolumeTransform(FLIPS[flip], GAMMAS[gamma]))
    return made[:n]
