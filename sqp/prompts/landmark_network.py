"""The network of the landmark localiser: where a patch lies in the body, and what each of its voxels looks like.

Relative distance regression and local feature matching (UR-SAM, section 3.1, after MedLSAM, arXiv 2306.14752): a patch
has a latent position, the difference of two of which, through tanh, is the offset between their centres; and features
by voxel on two scales, by which the voxel that looks most like a landmark is found nearby.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqp.errors import ConfigError

DIVISOR = 8
FEATURES = 16  # of a voxel, on each scale
LANDMARKS = 6  # least and greatest d, h and w of a structure


@dataclass(frozen=True)
class LandmarkSpec:
    """What a landmark localiser is.

    spacing: (d, h, w) in mm of the voxels it works on; patch: side in voxels of what it sees; reach: (d, h, w) in mm,
    the largest offset; width: channels of the finest stage.
    """

    kind: ClassVar[str] = "landmarks"
    spacing: tuple[float, ...]
    patch: int
    reach: tuple[float, ...]
    width: int = 8


class Seen(NamedTuple):
    """latent `[n, 3]`; fine and coarse features, unit vectors, `[n, FEATURES, p, p, p]`, the coarse from a quarter."""

    latent: Tensor
    fine: Tensor
    coarse: Tensor


class LandmarkNetwork(nn.Module):
    """MONAI's residual units at 1, 1/2, 1/4 and 1/8; the support's landmarks lie beside the weights, as buffers."""

    reach: Tensor
    latents: Tensor
    fine: Tensor
    coarse: Tensor

    def __init__(self, spec: LandmarkSpec) -> None:
        super().__init__()
        from monai.networks.blocks import ResidualUnit

        if spec.patch < 2 * DIVISOR or spec.patch % DIVISOR:
            raise ConfigError(f"patch is {spec.patch}; that of landmarks must be a multiple of {DIVISOR}, 16 at least")
        w = spec.width
        sides = [(1, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 8 * w, 2)]
        self.stages = nn.ModuleList(ResidualUnit(3, a, b, strides, norm="instance") for a, b, strides in sides)
        self.to_fine, self.to_coarse = nn.Conv3d(w, FEATURES, 1), nn.Conv3d(4 * w, FEATURES, 1)
        self.to_latent = nn.Linear(8 * w * 8, 3)  # of 2 x 2 x 2 cells: what lies where counts
        self.register_buffer("reach", torch.tensor(spec.reach, dtype=torch.float32))
        self.register_buffer("latents", torch.zeros(LANDMARKS, 3))
        self.register_buffer("fine", torch.zeros(LANDMARKS, FEATURES))
        self.register_buffer("coarse", torch.zeros(LANDMARKS, FEATURES))

    def forward(self, patches: Tensor) -> Seen:
        """Normalised voxels `[n, 1, p, p, p]` -> what is seen."""
        maps = []
        x = patches
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        size = patches.shape[2:]
        coarse = F.interpolate(self.to_coarse(maps[2]), size, mode="trilinear", align_corners=False)
        latent = self.to_latent(F.adaptive_avg_pool3d(maps[3], 2).flatten(1))
        return Seen(latent, F.normalize(self.to_fine(maps[0]), dim=1), F.normalize(coarse, dim=1))

    def offset(self, start: Tensor, end: Tensor) -> Tensor:
        """Latents `[n, 3]` of two patches -> mm (d, h, w) from the centre of the first to that of the second."""
        return self.reach * torch.tanh(end - start)
