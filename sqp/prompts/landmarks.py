"""Landmarks of a structure in a volume, found by relative distance regression, then by matching; and their 3D box."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sqp.errors import CaseError
from sqp.networks.checkpoint import load_weights, read_header
from sqp.networks.voxels import normalised
from sqp.prompts.fitted import checkpoint_file
from sqp.prompts.landmark_network import LANDMARKS, LandmarkNetwork, LandmarkSpec
from sqp.prompts.volume_prompts import box_prompt
from sqp.types import Prompt
from sqp.volume import Volume
from sqp.volume_frame import VolumeFrame

STEPS = 3  # patches from which the offset is predicted, one after the other, each nearer
NEAR_MM = 4.0  # half the side of the neighbourhood in which a landmark is matched


def landmarks(
    volume: Volume,
    *,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
    checkpoint: str = "",
    margin: float = 0.1,
    match: bool = True,
) -> list[Prompt]:
    """The box through the extreme points that `checkpoint` (`sqp fit localizer --method landmarks`) finds.

    It is grown on each side by `margin` of its length. Without `match` the points are those of the regression alone.
    ConfigError without a checkpoint; CaseError for an image that is no volume.
    """
    file = checkpoint_file("landmarks", checkpoint, "localizer --method landmarks")
    if not isinstance(volume, Volume):
        raise CaseError("the prompter 'landmarks' finds structures in volumes, and this image is 2D: take localizer")
    spec, network = _load(file)
    frame = VolumeFrame.at_spacing(volume.shape, volume.spacing, spec.spacing)
    points = locate(network, frame.image_to_input(normalised(volume.voxels)), spec, match)
    scale = np.array(volume.shape) / np.array(frame.working)
    return [box_prompt(points_box(points) * scale, volume.shape, margin, "landmarks")]


@torch.no_grad()
def locate(network: LandmarkNetwork, voxels: Tensor, spec: LandmarkSpec, match: bool = True) -> np.ndarray:
    """The landmarks `[LANDMARKS, 3]`, centres of voxels of normalised `[d, h, w]`; every one starts in the middle."""
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


@lru_cache(maxsize=4)
def _load(path: Path) -> tuple[LandmarkSpec, LandmarkNetwork]:
    """Spec and network in eval mode; read once a process. ConfigError where it holds no landmarks."""
    spec = read_header(path, LandmarkSpec).spec
    network = LandmarkNetwork(spec)
    load_weights(network, path, "localizer --method landmarks")
    return spec, network.eval().requires_grad_(False)
