"""Landmarks of a structure in a volume, found by relative distance regression, then by matching; and their 3D box.

The network of the landmark localiser: where a patch lies in the body, and what each of its voxels looks like.

Relative distance regression and local feature matching (UR-SAM, section 3.1, after MedLSAM, arXiv 2306.14752): a patch
has a latent position, the difference of two of which, through tanh, is the offset between their centres; and features
by voxel on two scales, by which the voxel that looks most like a landmark is found nearby.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sqp.core.errors import CaseError, ConfigError
from sqp.core.frame import VolumeFrame
from sqp.core.types import Prompt
from sqp.core.volume import Volume
from sqp.networks.inputs import normalised
from sqp.prompts.fitted import checkpoint_file, fitted_network
from sqp.prompts.volume_prompts import box_prompt

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


STEPS = 3  # patches from which the offset is predicted, one after the other, each nearer
NEAR_MM = 4.0  # half the side of the neighbourhood in which a landmark is matched


def landmarks(
    volume: Volume,
    *,
    checkpoint: str = "",
    margin: float = 0.1,
    match: bool = True,
) -> list[Prompt]:
    """The box through the extreme points that `checkpoint` (`sqp fit localizer --method landmarks`) finds.

    Without `match` the points are those of the regression alone.

    Args:
        volume: the volume.
        checkpoint: a file of `sqp fit localizer --method landmarks`.
        margin: growth of each side as a share of the box's length.
        match: False leaves out the search by features.

    Returns:
        One prompt with a box and a depth.

    Raises:
        ConfigError: no checkpoint is given, or it is another network's.
        CaseError: the image is no volume.
    """
    file = checkpoint_file("landmarks", checkpoint, "localizer --method landmarks")
    if not isinstance(volume, Volume):
        raise CaseError("the prompter 'landmarks' finds structures in volumes, and this image is 2D: take localizer")
    spec, network = fitted_network(file, LandmarkSpec, LandmarkNetwork, "localizer --method landmarks")
    frame = VolumeFrame.at_spacing(volume.shape, volume.spacing, spec.spacing)
    points = locate(network, frame.image_to_input(normalised(volume.voxels)), spec, match)
    scale = np.array(volume.shape) / np.array(frame.working)
    return [box_prompt(points_box(points) * scale, volume.shape, margin, "landmarks")]


@torch.no_grad()
def locate(network: LandmarkNetwork, voxels: Tensor, spec: LandmarkSpec, match: bool = True) -> np.ndarray:
    """The landmarks `[LANDMARKS, 3]`, centres of voxels of normalised `[d, h, w]`; every one starts in the middle.

    Args:
        network: the network in eval mode.
        voxels: normalised voxels `[d, h, w]` at the spec's spacing.
        spec: what the network is.
        match: False leaves out the search by features.

    Returns:
        (d, h, w) in voxels.
    """
    device = network.latents.device
    step, shape = np.array(spec.spacing), np.array(voxels.shape)
    at = np.repeat(shape[None] / 2.0, LANDMARKS, axis=0)
    for _ in range(STEPS):
        at = np.floor(at) + 0.5  # what the patches stand for: `starts`
        seen = network(cut(voxels, at, spec.patch).to(device))
        moved = network.offset(seen.latent, network.latents).cpu().numpy()
        at = np.clip(at + moved / step, 0.5, shape - 0.5)
    if not match:
        return at
    start = starts(at, spec.patch)
    seen = network(cut(voxels, at, spec.patch).to(device))
    alike = sum(
        torch.einsum("ncdhw,nc->ndhw", found, wanted)
        for found, wanted in ((seen.fine, network.fine), (seen.coarse, network.coarse))
    )
    assert isinstance(alike, Tensor)
    places = np.stack(np.meshgrid(*[np.arange(spec.patch) + 0.5] * 3, indexing="ij"), axis=-1)
    for row, values in enumerate(alike.cpu().numpy()):
        centres = places + start[row]
        allowed = (np.abs(centres - at[row]) * step <= NEAR_MM).all(axis=-1)
        allowed &= ((centres > 0) & (centres < shape)).all(axis=-1)
        if allowed.any():
            at[row] = centres[np.unravel_index(np.where(allowed, values, -np.inf).argmax(), values.shape)]
    return at


def cut(voxels: Tensor | np.ndarray, centres: np.ndarray, patch: int) -> Tensor:
    """float32 patches `[n, 1, p, p, p]` around centres `[n, 3]` of `[d, h, w]`; beyond the volume 0, its mean."""
    out = np.zeros((len(centres), 1, patch, patch, patch), np.float32)
    for row, start in enumerate(starts(centres, patch)):
        low = np.maximum(start, 0)
        high = np.minimum(start + patch, voxels.shape)
        if (high > low).all():
            there = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
            out[row, 0][there] = voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return torch.from_numpy(out)


def starts(centres: np.ndarray, patch: int) -> np.ndarray:
    """First voxels `[n, 3]` of the patches of even side whose voxel just before the middle holds these centres.

    A patch stands for the centre of that voxel, in training as in use.
    """
    return np.floor(centres).astype(int) + 1 - patch // 2


def extreme_points(mask: np.ndarray) -> np.ndarray:
    """`[LANDMARKS, 3]`: the mean centre of the voxels at the least and the greatest d, h and w of a bool mask.

    Args:
        mask: bool `[d, h, w]`, not empty.

    Returns:
        (d, h, w) in voxels.

    Examples:
        >>> mask = np.zeros((4, 4, 4), bool); mask[1, 1:3, 2] = True
        >>> extreme_points(mask)[2:4].tolist()
        [[1.5, 1.5, 2.5], [1.5, 2.5, 2.5]]
    """
    found = np.argwhere(mask)
    ends = [found[found[:, axis] == end(found[:, axis])] for axis in range(3) for end in (np.min, np.max)]
    return np.stack([part.mean(axis=0) + 0.5 for part in ends])


def points_box(points: np.ndarray) -> np.ndarray:
    """The box `[2, 3]` that reaches half a voxel beyond extreme points `[LANDMARKS, 3]`, each by its own axis."""
    low, high = (np.array([points[2 * axis + end, axis] for axis in range(3)]) for end in (0, 1))
    return np.stack([np.minimum(low, high) - 0.5, np.maximum(low, high) + 0.5])


@torch.no_grad()
def remember(network: LandmarkNetwork, supports: Sequence[tuple[Tensor, np.ndarray]], spec: LandmarkSpec) -> None:
    """Keep latents and features of the extreme points in `network`, means over supports (voxels, a mask, not empty)."""
    kept, middle = [], spec.patch // 2 - 1  # the landmark's voxel: `starts`
    for voxels, mask in supports:
        points = extreme_points(mask)
        seen = network(cut(voxels, points, spec.patch).to(network.latents.device))
        kept.append((seen.latent, *(part[:, :, middle, middle, middle] for part in (seen.fine, seen.coarse))))
    latents, fine, coarse = (torch.stack(part).mean(dim=0) for part in zip(*kept, strict=True))
    network.latents.copy_(latents)
    network.fine.copy_(fine)
    network.coarse.copy_(coarse)
