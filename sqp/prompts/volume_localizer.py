"""The localizer in 3D: a small U-Net that was fitted on structures marks them in the squashed volume; their box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from sqp.core.errors import CaseError, ConfigError
from sqp.core.frame import resample_volume
from sqp.core.types import Prompt
from sqp.core.volume import Volume
from sqp.networks.inputs import normalised
from sqp.prompts.fitted import check_threshold, checkpoint_file, fitted_network
from sqp.prompts.localizer import heaviest_part
from sqp.prompts.volume_prompts import box_prompt, volume_box

DIVISOR = 8  # three halvings


@dataclass(frozen=True)
class VolumeLocalizerSpec:
    """size: side in voxels of the cube to which a whole volume is squashed; width: channels of the finest stage."""

    kind: ClassVar[str] = "localizer3d"
    size: int = 48
    width: int = 8


def build_volume_localizer(spec: VolumeLocalizerSpec) -> nn.Module:
    """Cubes `[n, 1, s, s, s]` -> logits of that shape: MONAI's residual `UNet`. ConfigError for a size that does not

    halve three times.

    Args:
        spec: what the localizer is.

    Returns:
        The network.

    Raises:
        ConfigError: the size does not halve three times.
    """
    from monai.networks.nets import UNet

    if spec.size < 2 * DIVISOR or spec.size % DIVISOR:
        raise ConfigError(f"size is {spec.size}; a localizer of volumes needs a multiple of {DIVISOR}, 16 at least")
    channels = [spec.width * 2**k for k in range(4)]
    return UNet(3, 1, 1, channels, strides=(2, 2, 2), num_res_units=1)


def volume_localizer(
    volume: Volume,
    *,
    checkpoint: str = "",
    margin: float = 0.0,
    threshold: float = 0.5,
) -> list[Prompt]:
    """The 3D box of the heatmap of `checkpoint` (`sqp fit localizer --method heatmap3d`), grown by `margin`.

    Where the heatmap nowhere reaches `threshold` half of its peak is taken, and the prompter is `localizer_fallback`.

    Args:
        volume: the volume.
        checkpoint: a file of `sqp fit localizer --method heatmap3d`.
        margin: growth of each side as a share of the box's length.
        threshold: of the heatmap, 0 to 1.

    Returns:
        One prompt with a box and a depth.

    Raises:
        ConfigError: no checkpoint is given, or the threshold is out of range.
        CaseError: the image is no volume.
    """
    check_threshold(threshold)
    file = checkpoint_file("localizer", checkpoint, "localizer --method heatmap3d")
    if not isinstance(volume, Volume):
        raise CaseError(f"{checkpoint} finds structures in volumes, and this image is 2D: take one for images")
    spec, network = fitted_network(file, VolumeLocalizerSpec, build_volume_localizer, "localizer --method heatmap3d")
    with torch.no_grad():
        heatmap = torch.sigmoid(network(cube(normalised(volume.voxels), spec.size)[None, None]))[0, 0].numpy()
    box, sure = heatmap_box(heatmap, threshold)
    scale = np.array(volume.shape) / spec.size
    return [box_prompt(box * scale, volume.shape, margin, "localizer" if sure else "localizer_fallback")]


def cube(voxels: np.ndarray, size: int) -> torch.Tensor:
    """float `[d, h, w]` squashed to `[size, size, size]` float32."""
    return resample_volume(torch.from_numpy(np.require(voxels, np.float32, ["C", "W"])), (size, size, size))


def heatmap_box(heatmap: np.ndarray, threshold: float = 0.5) -> tuple[np.ndarray, bool]:
    """(box `[2, 3]` of the heaviest part of a heatmap `[d, h, w]` in 0-1, did it reach the threshold).

    Args:
        heatmap: `[d, h, w]` in 0-1.
        threshold: 0 to 1.

    Returns:
        The box, and whether the threshold was reached.
    """
    part, sure = heaviest_part(heatmap, threshold)
    return volume_box(part), sure
